"""What `alexnet predict` takes: until its first answer, and for a folder of images.

`python -m benchmarks.predict [--rounds 11] [--images 2000] [--output predict.json]`. Cold starts
are whole processes, in turns with `python -c "import onnxruntime, PIL.Image"`, which nothing that
runs a model through ONNX Runtime can do without. The rate over a folder is set against decoding
alone and running the model alone, each with the same threads and batches, in turns too; on a
processor both share the cores, so that `both_in_turn` is what no overlap would reach.
Untrained networks with 10 classes: an answer takes as long as a trained one's.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from alexnet_cli.devices import num_cores
from alexnet_cli.export.parity import Compared
from alexnet_cli.export.settings import ExportSettings, Format
from alexnet_cli.export.write import export_model
from alexnet_cli.files import atomic_write
from alexnet_cli.image import prepare_image
from alexnet_cli.inference.classify import Choice, classify_stream
from alexnet_cli.inference.inputs import find_images
from alexnet_cli.inference.session import load_model
from alexnet_cli.manifest import ExportPrecision, InputSpec, Manifest, Provenance
from alexnet_cli.models.build import build_network
from alexnet_cli.networks import Network, network_spec
from benchmarks.figures import summarise
from benchmarks.machine import describe, provenance

_BASE = "import onnxruntime, PIL.Image"
_BATCH = 32
_LEAST_SHARE = 0.9  # of the rate of the slower part
# Network, sides of image and crop, whether its ONNX file refers to the weights beside it, goal.
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
    export_model(build_network(spec, seed=0), manifest, folder, settings, Compared(crops), crops)
    return folder / "model.onnx"


def write_images(folder: Path, count: int, size: tuple[int, int]) -> None:
    """Write images, JPEG and PNG in turns, that compress as photos do."""
    draw = np.random.default_rng(0)
    folder.mkdir()
    for number in range(count):
        coarse = draw.integers(0, 256, (size[1] // 8 + 1, size[0] // 8 + 1, 3), np.uint8)
        image = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
        image.save(folder / f"{number:05}.{'jpg' if number % 2 else 'png'}")


def in_turns(works: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each work in each round, after a round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for round_number in range(rounds + 1):
        for name, work in works.items():
            begin = time.perf_counter()
            work()
            if round_number:
                seconds[name].append(time.perf_counter() - begin)
    return seconds


def _process(arguments: list[str | Path]) -> Callable[[], object]:
    # A terminal or a pipe would be read by someone; the results are not what is measured.
    return lambda: subprocess.run(
        [sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip


def measure_starts(folder: Path, rounds: int) -> list[dict[str, Any]]:
    """Clock one image, from the start of Python to its end."""
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
    seconds = in_turns(works, rounds)
    base = seconds.pop("base")
    figures: list[dict[str, Any]] = []
    for label, own in seconds.items():
        ratio = statistics.median(own) / statistics.median(base)
        figures.append(
            {
                "what": label, "seconds": summarise(own), "base_seconds": summarise(base),
                "ratio": ratio, "goal": goals[label], "met": ratio <= goals[label],
            }
        )  # fmt: skip
    return figures


def measure_folder(folder: Path, size: tuple[int, int], count: int, rounds: int) -> dict[str, Any]:
    """Clock a folder against its parts."""
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

    seconds = in_turns({"decode": decode, "infer": infer, "whole": whole}, rounds)
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
        "goal": _LEAST_SHARE,
        "met": share >= _LEAST_SHARE,
    }


def main() -> None:
    """Run, and print or write the result."""
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
        "kind": "predict",
        "machine": describe(torch.device("cpu")),
        "provenance": provenance(),
        "starts": starts,
        "folders": folders,
        "met": all(figure["met"] for figure in itertools.chain(starts, folders)),
    }
    content = json.dumps(result, indent=1).encode()
    if given.output:
        atomic_write(given.output, content + b"\n")
    print(content.decode())


if __name__ == "__main__":
    main()
