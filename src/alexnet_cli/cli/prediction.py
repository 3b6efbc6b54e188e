"""`alexnet predict` from a request to answers on stdout, without Typer."""

import itertools
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from alexnet_cli.cli.predict_request import PredictRequest
from alexnet_cli.console import ImageCount, note, report_error
from alexnet_cli.errors import DataError, UsageError
from alexnet_cli.image import silence_metadata_warnings
from alexnet_cli.inference.answers import ClassFolders, print_predictions
from alexnet_cli.inference.classify import Choice, Prediction, classify_one, classify_stream
from alexnet_cli.inference.inputs import STDIN, Source, find_images, listed_images
from alexnet_cli.inference.session import Model, load_model

FAST_START_MAX_IMAGES = 8
"""Up to this number of images, the session that starts fastest is used.

On two cores the other one starts 20 ms later for `alexnet-cifar`, most of a second for `alexnet`,
and then takes half the time per image.
"""


def predict(request: PredictRequest) -> int:
    """Classify the images of a request, and print the answers.

    Returns:
        The exit code: 1 if an image could not be read.

    Raises:
        AlexnetError: There is no usable model, or the request contradicts itself.
    """
    _check(request)
    silence_metadata_warnings()
    path = _model_path(request)
    sources = _sources(request)
    # Not from a list, which may arrive slowly: the model is loaded meanwhile, for many images.
    first = [] if request.files_from else list(itertools.islice(sources, FAST_START_MAX_IMAGES + 1))
    is_many = request.files_from is not None or len(first) > FAST_START_MAX_IMAGES
    begin = time.perf_counter()
    model = load_model(path, device=request.device, for_many=is_many)
    deployment = model.manifest.deployment
    precision = f"{deployment.precision}, " if deployment else ""
    note(f"predicting with {path}, {precision}{model.provider}", quiet=request.quiet)
    if model.note:
        note(model.note)  # also when quiet: a fallback to the CPU must be seen
    loaded = time.perf_counter()
    num_images, num_failed = _report(_classify(model, first, sources, request), model, request)
    if request.verbose:
        seconds = time.perf_counter() - loaded
        # By default ONNX Runtime uses one thread per core.
        note(f"loaded in {(loaded - begin) * 1e3:,.0f} ms; {model.provider}, one thread per core")
        note(f"{num_images:,} images in {seconds:,.2f} s: {num_images / seconds:,.0f} images/s")
    return 1 if num_failed else 0


def _check(request: PredictRequest) -> None:
    if not request.images and not request.files_from:
        raise UsageError("no images given", hint="name one, as in: alexnet predict photo.jpg")
    if request.images and request.files_from:
        raise UsageError("give IMAGES or --files-from, not both", hint="leave one of them out")
    if request.csv and request.json:
        raise UsageError("give --csv or --json, not both", hint="leave one out")
    if request.images.count(STDIN) > 1:
        raise UsageError("stdin is a single image", hint="give - once")
    if request.copy_to and STDIN in request.images:
        raise UsageError("an image on stdin cannot be copied", hint="leave out --copy-to or -")


def _model_path(request: PredictRequest) -> Path:
    if request.model and request.model.is_file():
        return request.model
    from alexnet_cli.run_folder import exported_model, model_file, newest_run

    if request.model:
        return model_file(request.model)
    return exported_model(newest_run(data=request.data))


def _sources(request: PredictRequest) -> Iterator[Source]:
    if request.files_from:
        return listed_images(request.files_from, skip=request.copy_to)
    return find_images(request.images, skip=request.copy_to)


def _classify(
    model: Model, first: list[Source], others: Iterable[Source], request: PredictRequest
) -> Iterator[Prediction]:
    """Classify a single image at once, several in batches while the next are decoded."""
    choice = Choice(request.top_k, request.threshold)
    if len(first) == 1:
        return iter([classify_one(model, first[0], choice)])
    sources = itertools.chain(first, others)
    return classify_stream(model, sources, choice, batch_size=request.batch_size)


def _report(
    predictions: Iterable[Prediction], model: Model, request: PredictRequest
) -> tuple[int, int]:
    """Print answers and errors as they come; return the numbers of images and of failures."""
    classes = model.manifest.classes
    num_images = num_failed = 0
    hints: set[str | None] = set()
    count = ImageCount(quiet=request.quiet)
    folders = ClassFolders(request.copy_to, classes) if request.copy_to else None

    def readable() -> Iterator[Prediction]:
        """Yield predictions without an error; copy their images, count, and report errors."""
        nonlocal num_images, num_failed
        for prediction in predictions:
            error = prediction.error
            if folders and prediction.top:
                error = _copy_error(Path(prediction.source), folders, prediction.top[0].index)
            if prediction.error is None:
                yield prediction
            num_images += 1
            if error is not None:
                num_failed += 1
                count.clear()
                hint = error.hint if request.json or error.hint not in hints else None
                hints.add(error.hint)  # printed once: of many bad files each has one line
                report_error(error.message, hint, error.code, as_json=request.json)
            count.update(num_images)
        count.clear()

    print_predictions(readable(), classes, as_json=request.json, as_csv=request.csv)
    return num_images, num_failed


def _copy_error(path: Path, folders: ClassFolders, index: int) -> DataError | None:
    """Copy an image into the folder of its class; return the error if it cannot be read."""
    try:
        folders.copy(path, index)
    except DataError as error:
        return error
    return None
