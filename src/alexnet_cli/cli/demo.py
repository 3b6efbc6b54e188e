"""`alexnet demo`."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from alexnet_cli.cli.options import Device, Quiet
from alexnet_cli.console import note, suggest
from alexnet_cli.errors import TrainingError

if TYPE_CHECKING:
    from alexnet_cli.data.arrays import ImageSource

EXAMPLES = ("alexnet demo", "alexnet demo --device cpu")
_NUM_PREDICTED = 10
_EXPECTED_TOP1 = 0.9


def command(device: Device = "auto", quiet: Quiet = False) -> None:
    """Train, evaluate, export and predict on images drawn by this package; no download.

    Draws ten kinds of shapes, trains, evaluates on test images, exports to ONNX
    and predicts from PNG files, in about a minute on a two-core CPU.
    """
    from alexnet_cli.cli import export, predict
    from alexnet_cli.config.recipes import demo_config
    from alexnet_cli.data.datasets import find_dataset
    from alexnet_cli.evaluation.measure import measure
    from alexnet_cli.evaluation.output import print_evaluation
    from alexnet_cli.export.settings import ExportSettings
    from alexnet_cli.run_folder import RUNS_FOLDER
    from alexnet_cli.training.device import resolve_device
    from alexnet_cli.training.open_model import open_model
    from alexnet_cli.training.reporting import TrainingDisplay
    from alexnet_cli.training.run import prepare_run, train_run

    begin, config = time.perf_counter(), demo_config()
    run = prepare_run(config, resolve_device(device), name="demo", parent=RUNS_FOLDER)
    note(f"1/4 train: {run.describe()}", quiet=quiet)
    with TrainingDisplay(config.epochs, quiet=quiet) as display:
        train_run(run, reporters=[display])
    note("2/4 evaluate", quiet=quiet)
    test = find_dataset(config.data).load_test()
    result = measure(open_model(run.folder.path, device=device), test, quiet=quiet).result
    print_evaluation(result, title="shapes test")
    note("3/4 export", quiet=quiet)
    (exported,) = export.write_files(run.folder.path, ExportSettings(), quiet=quiet)
    print(exported.path)
    note("4/4 predict", quiet=quiet)
    files = _save_images(test, run.manifest.classes, run.folder.path / "images")
    predict.command(list(map(str, files)), model=exported.path, top_k=1, device=device, quiet=quiet)
    if result.top1 < _EXPECTED_TOP1:
        raise TrainingError(
            f"the demo learned {result.top1:.1%} of the shapes, less than {_EXPECTED_TOP1:.0%}: "
            "something is wrong with this installation",
            hint="try without a GPU: alexnet demo --device cpu",
            code="demo_failed",
        )
    seconds = time.perf_counter() - begin
    note(f"done in {seconds:.0f} s; everything is in {run.folder.path}", quiet=quiet)
    print(run.folder.path)
    suggest("alexnet report", "alexnet train --data YOUR_PHOTOS", "alexnet download", quiet=quiet)


def _save_images(source: "ImageSource", classes: tuple[str, ...], folder: Path) -> list[Path]:
    """Save the first images as PNG files named after their class."""
    import numpy as np
    from PIL import Image

    from alexnet_cli.data.shapes import IMAGE_SIZE

    some = source.take(np.arange(_NUM_PREDICTED))
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for index, square in enumerate(some.load_images(IMAGE_SIZE)):
        name = classes[int(some.labels_N[index])]
        files.append(folder / f"{index}-{name}.png")
        Image.fromarray(square).save(files[-1])
    return files
