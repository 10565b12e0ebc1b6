"""The one exception for what a user can mend: a single line that says what is wrong and what to do."""


class UsageError(ValueError):
    """Something the user wrote or owns is wrong. The command line prints it as one line and ends with code 2."""
