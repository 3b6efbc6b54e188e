"""From image files to named classes."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alexnet_cli.errors import DataError
from alexnet_cli.image import prepare_image
from alexnet_cli.inference.session import Model


@dataclass(frozen=True)
class ClassProbability:
    """One line of an answer."""

    name: str
    index: int
    probability: float


@dataclass(frozen=True)
class Prediction:
    """The most probable classes of one image, best first; or the error that stopped it."""

    source: str
    top: tuple[ClassProbability, ...] = ()
    error: DataError | None = None


def classify_files(
    model: Model, paths: Iterable[Path], *, top_k: int = 5, batch_size: int = 32
) -> Iterator[Prediction]:
    """Classify image files, in their order; an unreadable one does not stop the others.

    Args:
        model: The loaded model.
        paths: Image files.
        top_k: Classes to name per image, at most as many as there are.
        batch_size: Images per run of the model.
    """
    waiting: list[Path] = []
    for path in paths:
        waiting.append(path)
        if len(waiting) == batch_size:
            yield from _classify_batch(model, waiting, top_k)
            waiting = []
    if waiting:
        yield from _classify_batch(model, waiting, top_k)


def _classify_batch(model: Model, paths: list[Path], top_k: int) -> list[Prediction]:
    spec = model.manifest.input
    images, predictions = [], {}
    for path in paths:
        try:
            image = prepare_image(
                path,
                image_size_px=spec.image_size_px,
                crop_size_px=model.manifest.input_side_px,
            )
        except DataError as error:
            predictions[path] = Prediction(str(path), error=error)
        else:
            images.append((path, image))
    if images:
        probabilities_BK = model.probabilities(np.stack([image for _, image in images]))
        for (path, _), row_K in zip(images, probabilities_BK, strict=True):
            best = np.argsort(-row_K, kind="stable")[:top_k]
            classes = model.manifest.classes
            predictions[path] = Prediction(
                str(path),
                tuple(ClassProbability(classes[i], int(i), float(row_K[i])) for i in best),
            )
    return [predictions[path] for path in paths]
