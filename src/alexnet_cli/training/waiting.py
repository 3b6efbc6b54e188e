"""How long the training loop waits for its data."""

import time
from collections.abc import Iterable, Iterator
from typing import Generic, Self, TypeVar

Item = TypeVar("Item")


class Clocked(Generic[Item]):
    """The items of another iterable, with the time that was waited for them.

    On CUDA this is the time of the host: work that was only queued on the device does not count.

    Attributes:
        seconds: Waited so far.
    """

    def __init__(self, items: Iterable[Item]) -> None:
        self._items: Iterator[Item] = iter(items)
        self.seconds = 0.0

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Item:
        begin = time.perf_counter()
        try:
            return next(self._items)
        finally:
            self.seconds += time.perf_counter() - begin
