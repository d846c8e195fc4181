"""The fixture that runs a command line."""

from tests.commands.conftest import cli

__all__ = ["cli"]
