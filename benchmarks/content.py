"""The time to hash images by content: a folder's files, the first time and later, and arrays.

`python -m benchmarks.content [--files 1000] [--rounds 7] [--output content.json]`. The files are
JPEGs of noise with 77 kB each, the arrays have the size of CIFAR-10's training images. Each round
hashes a folder that is not in the cache, then the same folder again. Files have been read before:
the time of the disk is not measured.
"""

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from alexnet_cli.data.content import FOLDER, hash_files, hash_pixels
from benchmarks.machine import new_result, write_result
from benchmarks.metrics import summarise

_SIDE_PX, _QUALITY = 360, 75  # of a JPEG of 77 kB
_CIFAR10 = (50_000, 32, 32, 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, _CIFAR10, np.uint8)
    times: dict[str, list[float]] = {"files, first": [], "files, later": [], "arrays": []}
    with tempfile.TemporaryDirectory() as name:
        os.environ["ALEXNET_HOME"] = name
        photos = Path(name, "photos")
        photos.mkdir()
        for number in range(given.files):
            noise = draw.integers(0, 256, (_SIDE_PX, _SIDE_PX, 3), np.uint8)
            Image.fromarray(noise).save(photos / f"{number}.jpg", quality=_QUALITY)
        names = np.array([path.name for path in photos.iterdir()], object)
        num_bytes = sum(path.stat().st_size for path in photos.iterdir())
        time.sleep(2.5)  # hashes of files that have just changed are not kept
        for _ in range(given.rounds):
            shutil.rmtree(Path(name, FOLDER), ignore_errors=True)
            for kind in ("files, first", "files, later"):
                begin = time.perf_counter()
                hash_files(photos, names)
                times[kind].append(time.perf_counter() - begin)
            begin = time.perf_counter()
            hash_pixels(pixels)
            times["arrays"].append(time.perf_counter() - begin)
    result = {
        **new_result("content"),
        "num_files": given.files,
        "num_bytes": num_bytes,
        "seconds": {kind: summarise(each) for kind, each in times.items()},
    }
    write_result(result, given.output)


if __name__ == "__main__":
    main()
