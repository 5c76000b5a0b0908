"""The two ways in which the sandbox itself fails. Both end it with exit code 2."""


class UsageError(Exception):
    """The command line cannot be understood: nothing was started."""


class BoxError(Exception):
    """The box cannot be trusted: status XX, and whatever it left is not to be used."""
