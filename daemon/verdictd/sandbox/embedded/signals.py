"""Signals, without the enums of the standard module: they take a third of the time in which a box starts."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    import _signal as signal

__all__ = ["signal"]
