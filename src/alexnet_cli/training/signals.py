"""Stopping at a safe place when asked to."""

import signal
from types import FrameType
from typing import Any, Self

_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


class StopRequest:
    """While entered, the first signal only sets `signal_number`; a second one acts at once.

    Args:
        once: Whether further signals are ignored instead, and all of them once an error ends this,
            to the end of the process: one of several is signalled by its launcher as soon as the
            first of them has ended.
    """

    def __init__(self, *, once: bool = False) -> None:
        self.signal_number: int | None = None
        self._once = once
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        try:
            for number in _SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup arranges
                    self._previous[number] = signal.signal(number, self.note)
        except ValueError:  # not in the main thread: signals are the host program's affair
            self._previous.clear()
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *_: object) -> None:
        if self._once and (exc_type is not None or self.signal_number is not None):
            self._set(signal.SIG_IGN)  # this process has yet to say why it ends
            return
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def note(self, number: int, _frame: FrameType | None = None) -> None:
        """Take a signal, or another process's word that there was one."""
        self.signal_number = number
        self._set(signal.SIG_IGN if self._once else signal.SIG_DFL)

    def _set(self, handler: signal.Handlers) -> None:
        for number in self._previous:
            signal.signal(number, handler)
