"""Failures of the sandbox itself. Both kinds end it with exit code 2."""


class UsageError(Exception):
    """The command line is invalid: nothing was started."""


class BoxError(Exception):
    """The box cannot be trusted: status XX, and nothing that it left may be used."""
