"""Classification from Python: one object, called with images."""

from collections.abc import Iterable, Iterator
from os import PathLike, fspath
from pathlib import Path

import numpy as np
from PIL import Image

from alexnet_cli.image import ImageInput
from alexnet_cli.inference.classify import Choice, Prediction, classify_one
from alexnet_cli.inference.inputs import Source
from alexnet_cli.inference.session import load_model
from alexnet_cli.runs import RunFolder, exported_model, named_model

AnyImage = ImageInput | str | PathLike[str]
"""A path, the bytes of a file, uint8 pixels (H, W, 3) or (H, W), or an image of Pillow's."""


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
        device: `auto`, `cpu`, `cuda` or `cuda:N`; never replaced by another silently.
        top_k: Classes to name an image, at most.
        threshold: Only classes at least so probable; an image may then have none.
        batch_size: Images per run of the model.
        num_threads: Threads that decode images; as many as there are cores by default.

    Attributes:
        classes: Class names in index order.
        provider: What of ONNX Runtime runs the model, such as `CPUExecutionProvider`.
        note: Why that is not a GPU, when `device` is `auto`; else None.

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
        path = named_model(Path(model))
        self._model = load_model(
            exported_model(RunFolder(path)) if path.is_dir() else path, device=device
        )
        self._choice = Choice(top_k, threshold)
        self._batch_size, self._num_threads = batch_size, num_threads
        self.classes = self._model.manifest.classes
        self.provider = self._model.provider
        self.note = self._model.note

    def __call__(self, images: AnyImage | Iterable[AnyImage]) -> list[Prediction]:
        """Classify images, in their order.

        Args:
            images: An iterable of images, such as a list or an array (N, H, W, 3); or one image.

        Returns:
            One prediction an image. An image that cannot be read has its `error` set, and does
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

        Args:
            images: The images.
        """
        from alexnet_cli.inference.stream import classify_stream

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
