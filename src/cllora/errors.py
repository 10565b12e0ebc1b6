"""The one exception for what a user can mend: a single line that says what is wrong and what to do."""

import logging
import sys
import unicodedata
from functools import cache


class UsageError(ValueError):
    """An error in what the user wrote or owns. The command line prints it as one line and ends with code 2."""


class FieldError(UsageError):
    """An error in one field of a study: `field` is its path, such as `model.context`, and `value` what it was
    given, so that whoever knows where it was written can say so. `wants_text`: text was wanted, and it was not."""

    def __init__(self, message: str, field: str, value: object = None, *, wants_text: bool = False) -> None:
        super().__init__(message)
        self.field = field
        self.value = value
        self.wants_text = wants_text

    def within(self, section: str) -> "FieldError":
        """The same of a field of a section."""
        return FieldError(str(self), f"{section}.{self.field}", self.value, wants_text=self.wants_text)


def one_line(error: Exception, width: int = 300) -> str:
    """An exception's message, on one line and cut to `width` characters."""
    return " ".join(str(error).split())[:width] or type(error).__name__


def counted(number: int, noun: str) -> str:
    """A number with its noun: `1 row`, `1,200 rows`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


JOINERS = "\u200c\u200d"
"""The characters that join letters, or pictures to one, and show nothing by themselves."""


def visible(text: str) -> str:
    """The text with characters that would steer a terminal, or show nothing, written out: `\\x1b`, `\\u202e`."""
    hidden = ("Cc", "Cf", "Cs", "Zl", "Zp")
    return "".join(
        c if unicodedata.category(c) not in hidden or c in JOINERS else c.encode("unicode_escape").decode()
        for c in text
    )


def say(text: str) -> None:
    """A line on stderr that begins with `cllora:`. Where nobody can hear it, nothing is lost."""
    try:
        sys.stderr.write(f"cllora: {visible(' '.join(text.splitlines()))}\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        pass


@cache
def deprecated(old: str, new: str) -> None:
    """Warn, once in a process, that a user's file or study uses a name that goes with the next release."""
    logging.getLogger("cllora").warning("%s is now %s; the old name goes with the next release", old, new)
