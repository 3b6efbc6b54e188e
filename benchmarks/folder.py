"""Random crops of a folder of JPEGs: this project's loader and torchvision's.

`python -m benchmarks.folder > benchmarks/results/folder-HARDWARE.json`. Nothing is trained: each
contender loads the same files once, in a process of its own, in turns. The files are noise with a
photograph's spectrum. Results are medians; on a busy machine read the ratios only. Linux only, for
the memory.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import datasets
from torchvision.transforms import v2 as transforms

from alexnet_cli.data.batches import BatchSettings, StreamingBatches
from alexnet_cli.data.folder import ImageFolder, list_classes, load_train
from alexnet_cli.image import read_image, resize_square
from benchmarks import machine
from benchmarks.family import run_sampled

_SAMPLE_SECONDS = 0.2
_ROUGHNESS = 0.6  # share of an octave's amplitude that the next finer one has
_NUM_DRAWN = 20  # different pictures; the files are copies of them


class FullDecode(ImageFolder):
    """The same folder, but all pixels of a JPEG are decoded and then resized."""

    def load_images(self, size_px: int) -> NDArray[np.uint8]:
        return np.stack([resize_square(read_image(self.root / n), size_px) for n in self.names_N])


def draw_files(folder: Path, count: int, *, width: int, height: int) -> None:
    """Save JPEGs in two class folders."""
    generator = np.random.default_rng(0)
    for number in range(count):
        home = folder / f"class{number % 2}"
        home.mkdir(exist_ok=True)
        path = home / f"{number}.jpg"
        if number >= _NUM_DRAWN:
            first = number % _NUM_DRAWN
            path.write_bytes((folder / f"class{first % 2}" / f"{first}.jpg").read_bytes())
            continue
        total = np.zeros((height, width, 3))
        for octave in range(1, 8):
            side = 2**octave
            noise = generator.integers(0, 256, (side, side, 3), dtype=np.uint8)
            layer = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
            total += np.asarray(layer) * _ROUGHNESS**octave
        pixels = (total / total.max() * 255).astype(np.uint8)
        Image.fromarray(pixels).save(path, quality=90)


def load_with_alexnet(folder: Path, given: argparse.Namespace, *, workers: int, draft: bool) -> int:
    """Iterate over an epoch of `StreamingBatches`; return the number of images."""
    source = load_train(folder, list_classes(folder))
    if not draft:
        source = FullDecode(source.root, source.names_N, source.labels_N)
    settings = BatchSettings(
        image_size_px=given.image_size, batch_size=given.batch_size, pad_px=0, flip=True, seed=0
    )
    batches = StreamingBatches(source, settings, device=machine.CPU, num_workers=workers)
    return sum(len(batch.labels_B) for batch in batches.epoch(0, crop_size_px=given.crop_size))


def load_with_torchvision(folder: Path, given: argparse.Namespace) -> int:
    """Iterate over an epoch of torchvision's `ImageFolder`; return the number of images."""
    steps = [
        transforms.Resize(given.image_size),
        transforms.RandomCrop(given.crop_size),
        transforms.RandomHorizontalFlip(),
        transforms.PILToTensor(),
    ]
    dataset = datasets.ImageFolder(folder, transforms.Compose(steps))
    loader = DataLoader(dataset, given.batch_size, shuffle=True, num_workers=2)
    return sum(len(labels) for _, labels in loader)


CONTENDERS: dict[str, Callable[[Path, argparse.Namespace], int]] = {
    "ours, 2 workers": lambda folder, given: load_with_alexnet(
        folder, given, workers=2, draft=True
    ),
    "torchvision, 2 workers": load_with_torchvision,
    "ours, 2 workers, no draft": lambda folder, given: load_with_alexnet(
        folder, given, workers=2, draft=False
    ),
    "ours, 1 worker": lambda folder, given: load_with_alexnet(folder, given, workers=1, draft=True),
}


def run_alone(name: str, folder: Path, arguments: list[str]) -> dict[str, float]:
    """Run a contender in a process of its own; return images per second and peak memory."""
    command = [sys.executable, "-m", "benchmarks.folder", *arguments]
    command += ["--only", name, "--folder", str(folder)]
    output, peak_mb = run_sampled(command, every_seconds=_SAMPLE_SECONDS)
    return {"images_per_second": float(output), "peak_mb": peak_mb}


def measure(given: argparse.Namespace, arguments: list[str]) -> dict[str, object]:
    """Measure the contenders in turns."""
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in CONTENDERS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw_files(folder, given.count, width=given.width, height=given.height)
        for _ in range(given.repeats):
            for contender, results in rounds.items():
                results.append(run_alone(contender, folder, arguments))
    medians = {
        contender: {key: statistics.median(r[key] for r in results) for key in results[0]}
        for contender, results in rounds.items()
    }
    settings = {"settings": vars(given), "medians": medians, "rounds": rounds}
    return {**machine.new_result("folder"), **settings}


def main(arguments: list[str]) -> None:
    """Measure and print JSON; with `--only`, run one contender and print its images per second."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    numbers = {
        "count": 2_000, "width": 500, "height": 400, "image-size": 256, "crop-size": 224,
        "batch-size": 128, "repeats": 5,
    }  # fmt: skip
    for name, default in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args(arguments)
    if given.only is None:
        del given.only, given.folder
        machine.write_result(measure(given, arguments), None)
        return
    begin = time.perf_counter()
    num_images = CONTENDERS[given.only](given.folder, given)
    print(num_images / (time.perf_counter() - begin))


if __name__ == "__main__":
    main(sys.argv[1:])
