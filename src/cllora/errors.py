"""The one exception for what a user can mend: a single line that says what is wrong and what to do."""

from typing import Any


class UsageError(ValueError):
    """Something the user wrote or owns is wrong. The command line prints it as one line and ends with code 2."""


class FieldError(UsageError):
    """What is wrong with one field of a study: `field` is its path, such as `model.context`, and `value` what it was
    given, so that whoever knows where it was written can say so. `wants_text`: text was wanted, and it was not."""

    def __init__(self, said: str, field: str, value: Any = None, *, wants_text: bool = False) -> None:
        super().__init__(said)
        self.field = field
        self.value = value
        self.wants_text = wants_text

    def within(self, section: str) -> "FieldError":
        """The same of a field of a section."""
        return FieldError(str(self), f"{section}.{self.field}", self.value, wants_text=self.wants_text)


def one_line(error: Exception, width: int = 300) -> str:
    """An exception's message, on one line and cut to `width` characters."""
    return " ".join(str(error).split())[:width] or type(error).__name__
