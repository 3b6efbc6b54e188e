"""Read each file whose path comes on stdin; say what became of it and the processor time it took.

`python -m tests.faults.read_files images|models`. A process of its own, because a damaged file may
kill a library written in C, and whoever runs it. Anything but the error that says so ends it.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from alexnet_cli.errors import DataError, ModelFileError
from alexnet_cli.image import prepare_image, silence_metadata_warnings
from alexnet_cli.inference.session import load_model


def read_image_file(path):
    crop = prepare_image(path, image_size_px=32, crop_size_px=28)
    assert crop.shape == (28, 28, 3)
    assert crop.dtype == np.uint8


def read_model_file(path):
    model = load_model(path, device="cpu", for_many=False)
    side = model.manifest.input.crop_size_px
    probabilities = model.probabilities(np.zeros((1, side, side, 3), np.uint8))
    assert probabilities.shape == (1, len(model.manifest.classes))


KINDS: dict[str, Callable[[Path], None]] = {"images": read_image_file, "models": read_model_file}


def main():
    read = KINDS[sys.argv[1]]
    silence_metadata_warnings()
    print("ready", flush=True)  # noqa: T201
    for line in sys.stdin:
        begin, outcome = time.process_time(), "read"
        try:
            read(Path(line.rstrip("\n")))
        except (DataError, ModelFileError):
            outcome = "refused"
        print(outcome, time.process_time() - begin, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
