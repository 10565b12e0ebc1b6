"""The one exception for what a user can mend: a single line that says what is wrong and what to do."""


class UsageError(ValueError):
    """Something the user wrote or owns is wrong. The command line prints it as one line and ends with code 2."""


def one_line(error: Exception, width: int = 300) -> str:
    """An exception's message, on one line and cut to `width` characters."""
    return " ".join(str(error).split())[:width] or type(error).__name__
