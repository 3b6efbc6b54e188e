"""Many images: threads find and decode them while the model runs.

Shape letters: B batch, K classes.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from alexnet_cli.devices import num_cores
from alexnet_cli.errors import DataError
from alexnet_cli.inference.classify import Choice, Crop, Prediction, read_crop
from alexnet_cli.inference.inputs import Source
from alexnet_cli.inference.session import Model

LATEST_SECONDS = 0.1  # after its first image a batch is run, full or not


def classify_stream(
    model: Model,
    sources: Iterable[Source],
    choice: Choice,
    *,
    batch_size: int = 32,
    num_threads: int | None = None,
) -> Iterator[Prediction]:
    """Classify images in their order, however many; an unreadable one does not stop the others.

    Threads find and decode images up to three batches ahead, while this one runs the model. A
    batch does not wait for a slow source longer than `LATEST_SECONDS`.

    Args:
        model: The loaded model.
        sources: Images, taken as they are needed.
        choice: Which classes are named.
        batch_size: Images per run of the model.
        num_threads: Threads that decode; as many as this process has cores by default.
    """
    reader = _Reader(
        sources,
        lambda source: read_crop(model, source),
        num_threads=num_threads,
        ahead=2 * batch_size,
    )
    try:
        for batch in reader.batches(batch_size):
            yield from _classify_batch(model, batch, choice)
    finally:
        reader.close()


def _classify_batch(
    model: Model, batch: list[tuple[str, Crop]], choice: Choice
) -> Iterator[Prediction]:
    crops = [crop for _, crop in batch if not isinstance(crop, DataError)]
    rows_BK = iter(model.probabilities(np.stack(crops))) if crops else iter(())
    for name, crop in batch:
        if isinstance(crop, DataError):
            yield Prediction(name, error=crop)
        else:
            yield choice.predict(name, next(rows_BK), model)


class _Reader:
    """Threads that decode images ahead of their use.

    Args:
        sources: The images.
        read: Decodes one.
        num_threads: Threads that do.
        ahead: Images that may be waiting.
    """

    def __init__(
        self,
        sources: Iterable[Source],
        read: Callable[[Source], Crop],
        *,
        num_threads: int | None,
        ahead: int,
    ) -> None:
        self._sources, self._read = sources, read
        self._queue: queue.Queue[Any] = queue.Queue(ahead)
        self._pool = ThreadPoolExecutor(num_threads or num_cores(), "decode")
        self._is_closed = False
        # A daemon: it may be waiting for stdin when nobody wants more.
        self._feeder = threading.Thread(target=self._feed, name="find", daemon=True)
        self._feeder.start()

    def _feed(self) -> None:
        """Put names and crops-to-be into the queue; None, or an error, is the end."""
        end: BaseException | None = None
        try:
            for source in self._sources:
                if self._is_closed:
                    return
                self._queue.put((source.name, self._pool.submit(self._read, source)))
        except BaseException as error:  # raised again by the thread that reads
            end = error
        self._queue.put(end)

    def batches(self, size: int) -> Iterator[list[tuple[str, Crop]]]:
        """Yield batches of decoded images, in order."""
        while True:
            entry = self._queue.get()
            deadline = time.monotonic() + LATEST_SECONDS
            batch: list[tuple[str, Future[Crop]]] = []
            while isinstance(entry, tuple):
                batch.append(entry)
                if len(batch) == size:
                    break
                try:
                    entry = self._queue.get(timeout=max(0.0, deadline - time.monotonic()))
                except queue.Empty:
                    break
            if batch:
                yield [(name, crop.result()) for name, crop in batch]
            if isinstance(entry, BaseException):
                raise entry
            if entry is None:
                return

    def close(self) -> None:
        """Let the threads end."""
        self._is_closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)
        while not self._queue.empty():  # room for a feeder that waits for it
            self._queue.get_nowait()
