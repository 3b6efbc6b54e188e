"""From images to named classes: one at once, or many while threads find and decode the next.

Shape letters: B batch, S side of a crop, K classes.
"""

import contextlib
import queue
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alexnet_cli.devices import num_cores
from alexnet_cli.errors import DataError
from alexnet_cli.image import ImageInput, prepare_image
from alexnet_cli.inference.inputs import STDIN, Source
from alexnet_cli.inference.session import Model, load_model

LATEST_SECONDS = 0.1  # after its first image a batch is run, full or not
Crop = NDArray[np.uint8] | DataError
"""Pixels (S, S, 3) ready for the model, or why there are none."""
AnyImage = ImageInput | str | PathLike[str]
"""A path, the bytes of a file, uint8 pixels (H, W, 3) or (H, W), or a Pillow image."""


@dataclass(frozen=True)
class ClassProbability:
    name: str
    index: int
    probability: float


@dataclass(frozen=True)
class Prediction:
    """The most probable classes of one image, best first; or the error that stopped it."""

    source: str  # name of the image
    top: tuple[ClassProbability, ...] = ()  # empty if no class is probable enough
    error: DataError | None = None  # why the image could not be read

    @property
    def best(self) -> ClassProbability | None:
        """The most probable class; None where none is probable enough.

        Raises:
            DataError: The image could not be read.
        """
        if self.error is not None:
            raise self.error
        return self.top[0] if self.top else None


@dataclass(frozen=True)
class Choice:
    """The classes of an image to name."""

    top_k: int = 5  # at most this number
    threshold: float = 0.0  # only classes of at least this probability

    def predict(
        self, source: str, probabilities_K: NDArray[np.float32], model: Model
    ) -> Prediction:
        best = np.argsort(-probabilities_K, kind="stable")[: self.top_k]
        return Prediction(
            source,
            tuple(
                ClassProbability(model.manifest.classes[i], int(i), float(probabilities_K[i]))
                for i in best
                if probabilities_K[i] >= self.threshold
            ),
        )


def read_crop(model: Model, source: Source) -> Crop:
    """Read an image as the model takes it."""
    if source.picture is None:
        return source.error or DataError(f"no image: {source.name}")
    try:
        return prepare_image(
            source.picture,
            image_size_px=model.manifest.input.image_size_px,
            crop_size_px=model.manifest.input_side_px,
            name="standard input" if source.name == STDIN else source.name,
        )
    except DataError as error:
        return error


def classify_one(model: Model, source: Source, choice: Choice) -> Prediction:
    """Classify one image, without threads."""
    (prediction,) = _classify_batch(model, [(source.name, read_crop(model, source))], choice)
    return prediction


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


def classify_stream(
    model: Model,
    sources: Iterable[Source],
    choice: Choice,
    *,
    batch_size: int = 32,
    num_threads: int | None = None,
) -> Iterator[Prediction]:
    """Classify any number of images in their order; an unreadable one does not stop the others.

    Threads find and decode images up to three batches ahead, while this one runs the model. A
    batch does not wait for a slow source longer than `LATEST_SECONDS`.
    """
    from concurrent.futures import ThreadPoolExecutor  # one image would wait for its import

    waiting: queue.Queue[Any] = queue.Queue(2 * batch_size)
    pool = ThreadPoolExecutor(num_threads or num_cores(), "decode")
    is_closed = threading.Event()

    def find() -> None:
        """Put names and future crops into the queue; None, or an error, is the end."""
        end: BaseException | None = None
        try:
            for source in sources:
                if is_closed.is_set():
                    return
                waiting.put((source.name, pool.submit(read_crop, model, source)))
        except BaseException as error:  # raised again by the thread that reads
            end = error
        waiting.put(end)

    # A daemon: it may be waiting for stdin when nobody wants more.
    threading.Thread(target=find, name="find", daemon=True).start()
    try:
        for batch in _batches(waiting, batch_size):
            crops = [(name, future.result()) for name, future in batch]
            yield from _classify_batch(model, crops, choice)
    finally:
        is_closed.set()
        pool.shutdown(wait=False, cancel_futures=True)
        while not waiting.empty():  # room for a finder that waits for it
            waiting.get_nowait()


def _batches(waiting: queue.Queue[Any], size: int) -> Iterator[list[Any]]:
    """Yield batches of entries until the end is in the queue; raise it if it is an error."""
    while True:
        entry, batch = waiting.get(), []
        deadline = time.monotonic() + LATEST_SECONDS
        with contextlib.suppress(queue.Empty):
            while isinstance(entry, tuple):
                batch.append(entry)
                if len(batch) == size:
                    break
                entry = waiting.get(timeout=max(0.0, deadline - time.monotonic()))
        if batch:
            yield batch
        if isinstance(entry, BaseException):
            raise entry
        if entry is None:
            return


class Classifier:
    """An exported model that classifies images.

    It prepares each image as training did, from the description inside the model's file, and runs
    without PyTorch.

        classify = Classifier("model.onnx")
        best = classify(["a.png", pixels])[0].best
        for prediction in classify.stream(Path("photos").rglob("*.jpg")):
            print(prediction.source, prediction.top)

    Args:
        model: A `.onnx` or `.safetensors` export, a run folder, or the name of downloaded weights.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `tensorrt`; never replaced by another silently.
        top_k: Number of classes per image, at most.
        threshold: Leave out classes below this probability; an image may then have none.
        batch_size: Images per run of the model.
        num_threads: Threads that decode images; by default one per core.

    Raises:
        AlexnetError: The model or the device cannot be used; `message` and `hint` say why.
    """

    def __init__(
        self,
        model: str | PathLike[str],
        *,
        device: str = "auto",
        top_k: int = 5,
        threshold: float = 0.0,
        batch_size: int = 32,
        num_threads: int | None = None,
    ) -> None:
        from alexnet_cli.run_folder import model_file

        self._model = load_model(model_file(Path(model)), device=device)
        self._choice = Choice(top_k, threshold)
        self._batch_size, self._num_threads = batch_size, num_threads
        self.classes = self._model.manifest.classes  # names in index order
        self.provider = self._model.provider  # of ONNX Runtime, such as CPUExecutionProvider
        self.note = self._model.note  # why that is not a GPU, if `device` is `auto`; else None

    def __call__(self, images: AnyImage | Iterable[AnyImage]) -> list[Prediction]:
        """Classify images, in their order.

        Args:
            images: An iterable of images, such as a list or an array (N, H, W, 3); or one image.

        Returns:
            One prediction per image. An image that cannot be read has its `error` set, and does
            not stop the others.
        """
        if isinstance(images, np.ndarray) and images.ndim > 3:
            return list(self.stream(images))
        if isinstance(images, str | bytes | PathLike | np.ndarray | Image.Image):
            return [classify_one(self._model, _source(images, 0), self._choice)]
        return list(self.stream(images))

    def stream(self, images: Iterable[AnyImage]) -> Iterator[Prediction]:
        """Classify any number of images in little memory: answers come as images are taken.

        Threads decode ahead, so the iterable is used from another thread than the caller's.
        """
        sources = (_source(image, number) for number, image in enumerate(images))
        return classify_stream(
            self._model,
            sources,
            self._choice,
            batch_size=self._batch_size,
            num_threads=self._num_threads,
        )


def _source(image: AnyImage, number: int) -> Source:
    if isinstance(image, str | PathLike):
        return Source(fspath(image), Path(image))
    if isinstance(image, bytes | np.ndarray | Image.Image):
        return Source(f"#{number}", image)
    raise TypeError(f"image #{number} is of type {type(image).__name__}, not an image or a path")
