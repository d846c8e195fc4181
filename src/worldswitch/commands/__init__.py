"""The commands, one module each; ``worldswitch.cli`` imports the one that was asked for.

``common`` holds what they share: files and directories of scenarios, ``--path``, ``--profile``, ``--set``, findings.
"""

from typing import Final

EXIT_CLEAN: Final = 0
"""No finding, or every ``[expect]`` met."""

EXIT_FINDINGS: Final = 1
"""A finding where nothing is expected, or an ``[expect]`` that is not met."""

EXIT_BAD_INPUT: Final = 2
EXIT_NO_VERDICT: Final = 3
EXIT_INTERRUPTED: Final = 130
