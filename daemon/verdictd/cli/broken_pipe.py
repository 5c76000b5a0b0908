"""Standard output in a pipe whose reader has gone, as in `verdictd check | head -1`."""

import os
import select
import signal

_STDOUT = 1


def end_if_unread(error: BaseException) -> None:
    """End without a word, by the signal that ends other tools, if a write to standard output has failed.

    Return otherwise. Python ignores SIGPIPE; Click and rich make an exit code of the error.
    """
    if any(isinstance(cause, BrokenPipeError) for cause in (error, error.__context__)) and _has_no_reader():
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGPIPE)


def _has_no_reader() -> bool:
    """Return whether the other end is closed: BrokenPipeError also comes of connections."""
    poll = select.poll()
    poll.register(_STDOUT, 0)  # errors and hang-ups are reported without being asked for
    return any(found & (select.POLLERR | select.POLLHUP) for _, found in poll.poll(0))
