"""Mutants of L0's C code under nested virtualisation."""

from typing import Final

from worldswitch.mutants.model import Mutant

MUTANTS: Final[tuple[Mutant, ...]] = ()
