"""The one exception for bad input: what a user gave cannot be used."""


class InputError(Exception):
    """Bad input of any kind; ``str()`` is the one clear line to print, with file, line and field where known.

    Commands print it and exit with 2.
    """

    def __init__(self, message: str, file: str = "", line: int = 0, field: str = "") -> None:
        self.message = message
        self.file = file
        self.line = line
        self.field = field
        place = file + (f":{line}" if file and line else "")
        super().__init__(": ".join(part for part in (place, field, message) if part))

    def at(self, file: str = "", line: int = 0, field: str = "") -> "InputError":
        """The same complaint with a place added where it had none."""
        return InputError(self.message, self.file or file, self.line or line, self.field or field)
