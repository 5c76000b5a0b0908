"""Standard output of the commands, as a person's terminal or as a pipe."""

import errno
import os

from rich.console import Console


class StandardOutput(Console):
    """Lines as long as they are. If nobody reads them any more, printing raises BrokenPipeError.

    rich would exit from where it is, and take the event loop with it before the boxes are closed.
    """

    def __init__(self) -> None:
        super().__init__(soft_wrap=True)

    def on_broken_pipe(self) -> None:
        """Raise to the caller, after rich has caught the error of the system."""
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
