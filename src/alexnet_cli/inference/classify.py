"""From an image to named classes. Shape letters: S side of a crop, K classes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alexnet_cli.errors import DataError
from alexnet_cli.image import prepare_image
from alexnet_cli.inference.inputs import STDIN, Source
from alexnet_cli.inference.session import Model

Crop = NDArray[np.uint8] | DataError
"""Pixels (S, S, 3) ready for the model, or why there are none."""


@dataclass(frozen=True)
class ClassProbability:
    """One line of an answer."""

    name: str
    index: int
    probability: float


@dataclass(frozen=True)
class Prediction:
    """The most probable classes of one image, best first; or the error that stopped it.

    Attributes:
        source: The image, as it was named.
        top: Its classes; none where an error stopped it or none is probable enough.
        error: Why it could not be read.
    """

    source: str
    top: tuple[ClassProbability, ...] = ()
    error: DataError | None = None

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
    """Which classes of an image are named.

    Attributes:
        top_k: At most so many.
        threshold: Only classes at least so probable.
    """

    top_k: int = 5
    threshold: float = 0.0

    def predict(
        self, source: str, probabilities_K: NDArray[np.float32], model: Model
    ) -> Prediction:
        """Name the classes of one image."""
        classes = model.manifest.classes
        best = np.argsort(-probabilities_K, kind="stable")[: self.top_k]
        return Prediction(
            source,
            tuple(
                ClassProbability(classes[i], int(i), float(probabilities_K[i]))
                for i in best
                if probabilities_K[i] >= self.threshold
            ),
        )


def classify_one(model: Model, source: Source, choice: Choice) -> Prediction:
    """Classify one image, with as little ado as possible."""
    crop = read_crop(model, source)
    if isinstance(crop, DataError):
        return Prediction(source.name, error=crop)
    return choice.predict(source.name, model.probabilities(crop[None])[0], model)


def read_crop(model: Model, source: Source) -> Crop:
    """Read an image as the model wants it."""
    if source.picture is None:
        return source.error or DataError(f"no image: {source.name}")
    spec = model.manifest.input
    name = "standard input" if source.name == STDIN else source.name
    try:
        return prepare_image(
            source.picture,
            image_size_px=spec.image_size_px,
            crop_size_px=model.manifest.input_side_px,
            name=name,
        )
    except DataError as error:
        return error
