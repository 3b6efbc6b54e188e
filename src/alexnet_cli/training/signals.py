"""Stopping at a safe place when asked to."""

import signal
from types import FrameType, TracebackType
from typing import Any, Self

_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


class StopRequest:
    """While entered, the first signal only sets `signal_number`; a second one acts at once."""

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        try:
            for number in _SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup arranges
                    self._previous[number] = signal.signal(number, self._note)
        except ValueError:  # not in the main thread: signals are the host program's affair
            self._previous.clear()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.signal_number = number
        for each in self._previous:
            signal.signal(each, signal.SIG_DFL)
