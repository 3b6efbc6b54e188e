"""The time of `alexnet predict`: for one image, and for a folder of images.

`python -m benchmarks.predict [--rounds 11] [--images 2000] [--output predict.json]`. Cold starts
are whole processes, in turns with `python -c "import onnxruntime, PIL.Image"`, the minimum for a
model in ONNX Runtime. The speed over a folder is compared with decoding only and with the model
only, with the same threads and batches. On a CPU both share the cores: `both_in_turn` is the speed
without any overlap. The networks are untrained, which makes no difference to the time.
"""

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from alexnet_cli.devices import num_cores
from alexnet_cli.export.settings import Compared, ExportSettings, Format
from alexnet_cli.export.write import export_model
from alexnet_cli.image import prepare_image
from alexnet_cli.inference.classify import Choice, classify_stream
from alexnet_cli.inference.inputs import find_images
from alexnet_cli.inference.session import load_model
from alexnet_cli.manifest import ExportPrecision, InputSpec, Manifest, Provenance
from alexnet_cli.models.build import build_network
from alexnet_cli.networks import Network, network_spec
from benchmarks.machine import CPU, new_result, write_result
from benchmarks.metrics import summarise
from benchmarks.timing import Work, alternate

_BASE = "import onnxruntime, PIL.Image"
_BATCH = 32
_MIN_SHARE = 0.9  # of the speed of the slower part
# Network, sides of image and crop in pixels, shared weights, goal as a multiple of the imports.
_STARTS = (
    ("alexnet-cifar", 32, 28, False, 1.6),
    ("alexnet-cifar", 32, 28, True, 1.6),
    ("alexnet", 256, 227, True, 2.0),
)
_SIZES = ((500, 375), (32, 32))  # of the folder's images: a photo's thumbnail, CIFAR-10's


def write_model(
    name: str,
    sides: tuple[int, int],
    folder: Path,
    *,
    shared: bool,
    precision: ExportPrecision = ExportPrecision.FP32,
) -> Path:
    """Export an untrained network and return its ONNX file."""
    spec = network_spec(Network(name), num_classes=10, crop_size_px=sides[1])
    manifest = Manifest(
        spec,
        InputSpec(*sides, scale=(0.02, 0.02, 0.02), shift=(-2.0, -2.0, -2.0)),
        tuple(f"class {number}" for number in range(10)),
        Provenance("shapes", 0, 1, 0, 0.0, "", {}),
    )
    crops = np.random.default_rng(0).integers(0, 256, (2, sides[1], sides[1], 3), np.uint8)
    file_format = Format.ALL if shared else Format.ONNX
    settings = ExportSettings(file_format, shared_weights=shared, precision=precision)
    network = build_network(spec, seed=0)
    written = export_model(
        network, manifest, folder, settings, Compared(crops), calibration_NIIC=crops
    )
    return written[-1].path


def write_images(folder: Path, count: int, size: tuple[int, int]) -> None:
    """Write images, JPEG and PNG in turns, that compress as photos do."""
    draw = np.random.default_rng(0)
    folder.mkdir()
    for number in range(count):
        coarse = draw.integers(0, 256, (size[1] // 8 + 1, size[0] // 8 + 1, 3), np.uint8)
        image = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
        image.save(folder / f"{number:05}.{'jpg' if number % 2 else 'png'}")


def _process(arguments: list[str | Path]) -> Work:
    return lambda: subprocess.run(
        [sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip


def measure_starts(folder: Path, rounds: int) -> list[dict[str, Any]]:
    """Time one image, from the start of Python to its end."""
    write_images(folder / "one", 2, _SIZES[0])
    works = {"base": _process(["-c", _BASE])}
    goals = {}
    for name, size_px, crop_px, shared, goal in _STARTS:
        label = f"{name}, {crop_px} px, {'shared weights' if shared else 'self-contained'}"
        model = write_model(
            name, (size_px, crop_px), folder / label.replace(" ", "-"), shared=shared
        )
        command = ["-m", "alexnet_cli", "predict", folder / "one" / "00001.jpg", "--model", model]
        works[label], goals[label] = _process(command), goal
    seconds = alternate(works, repeats=rounds, device=CPU)
    base = seconds.pop("base")
    comparisons: list[dict[str, Any]] = []
    for label, own in seconds.items():
        ratio = statistics.median(own) / statistics.median(base)
        comparisons.append(
            {
                "what": label, "seconds": summarise(own), "base_seconds": summarise(base),
                "ratio": ratio, "goal": goals[label], "met": ratio <= goals[label],
            }
        )  # fmt: skip
    return comparisons


def measure_folder(folder: Path, size: tuple[int, int], count: int, rounds: int) -> dict[str, Any]:
    """Time a folder, and decoding and the model separately."""
    images = folder / f"{size[0]}x{size[1]}"
    write_images(images, count, size)
    paths = sorted(images.iterdir())
    model = load_model(
        write_model("alexnet-cifar", (32, 28), folder / f"model-{size[0]}", shared=False),
        device="cpu",
    )

    def read(path: Path) -> object:
        return prepare_image(path, image_size_px=32, crop_size_px=28)

    def decode() -> None:
        with ThreadPoolExecutor(num_cores()) as pool:
            for _ in pool.map(read, paths):
                pass

    def infer() -> None:
        batch = np.zeros((_BATCH, 28, 28, 3), np.uint8)
        for _ in range(0, count, _BATCH):
            model.probabilities(batch)

    def whole() -> None:
        stream = classify_stream(model, find_images([str(images)]), Choice(), batch_size=_BATCH)
        answers = sum(answer.error is None for answer in stream)
        if answers != count:
            raise RuntimeError(f"{answers} answers for {count} images")

    works = {"decode": decode, "infer": infer, "whole": whole}
    seconds = alternate(works, repeats=rounds, device=CPU)
    rates = {name: count / statistics.median(times) for name, times in seconds.items()}
    share = rates["whole"] / min(rates["decode"], rates["infer"])
    in_turn = 1 / (1 / rates["decode"] + 1 / rates["infer"])
    return {
        "what": f"{count:,} JPEG and PNG files of {size[0]}×{size[1]} px, alexnet-cifar",
        "images_per_second": rates,
        "seconds": {name: summarise(times) for name, times in seconds.items()},
        "share_of_the_slower": share,
        "both_in_turn_per_second": in_turn,
        "share_of_both_in_turn": rates["whole"] / in_turn,
        "cores": os.cpu_count(),
        "goal": _MIN_SHARE,
        "met": share >= _MIN_SHARE,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--images", type=int, default=2_000)
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        starts = measure_starts(folder, given.rounds)
        rounds = max(3, given.rounds // 3)
        folders = [measure_folder(folder, size, given.images, rounds) for size in _SIZES]
    result = {
        **new_result("predict"),
        "starts": starts,
        "folders": folders,
        "met": all(each["met"] for each in itertools.chain(starts, folders)),
    }
    write_result(result, given.output)


if __name__ == "__main__":
    main()
