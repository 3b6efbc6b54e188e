"""A peer of `benchmarks.predict_peers`: a short PyTorch script that runs AlexNet on images.

`python -m benchmarks.predict_torch model.safetensors SIDE CROP PATH`: weights exported by
`predict_peers`, the sides of image and crop, and an image or a folder of images.
"""

import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn


def build(crop_px: int) -> nn.Module:
    """Return `alexnet` at 227 px, `alexnet-cifar` at less, with 10 classes."""
    first, flat, hidden = (
        ((11, 4, 0), 9216, 4096) if crop_px == 227 else ((5, 1, 2), 256 * (crop_px // 8) ** 2, 1024)
    )
    norm, pool = nn.LocalResponseNorm(5, 1e-4, 0.75, 2.0), nn.MaxPool2d(3, 2, ceil_mode=True)
    features = nn.Sequential(
        nn.Conv2d(3, 96, *first), nn.ReLU(), norm, pool,
        nn.Conv2d(96, 256, 5, padding=2, groups=2), nn.ReLU(), norm, pool,
        nn.Conv2d(256, 384, 3, padding=1), nn.ReLU(),
        nn.Conv2d(384, 384, 3, padding=1, groups=2), nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1, groups=2), nn.ReLU(), pool,
    )  # fmt: skip
    classifier = nn.Sequential(
        nn.Flatten(), nn.Linear(flat, hidden), nn.ReLU(), nn.Dropout(),
        nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(), nn.Linear(hidden, 10),
    )  # fmt: skip
    return nn.Sequential(OrderedDict(features=features, classifier=classifier))


def read(path: Path, side_px: int, crop_px: int) -> torch.Tensor:
    """Return the centre of the resized central square, scaled, (3, H, W)."""
    image = Image.open(path).convert("RGB")
    left, top = ((length - min(image.size)) / 2 for length in image.size)
    box = (left, top, left + min(image.size), top + min(image.size))
    square = image.resize((side_px, side_px), Image.Resampling.BILINEAR, box)
    margin = (side_px - crop_px) // 2
    pixels = np.asarray(square)[margin : margin + crop_px, margin : margin + crop_px]
    return torch.tensor(pixels).permute(2, 0, 1) * 0.02 - 2.0


def main() -> None:
    """Print the most probable class of each image."""
    weights, side_px, crop_px, path = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    network = build(crop_px).eval()
    network.load_state_dict(load_file(weights))
    paths = sorted(Path(path).iterdir()) if Path(path).is_dir() else [Path(path)]
    with torch.inference_mode():
        for begin in range(0, len(paths), 32):
            batch = paths[begin : begin + 32]
            inputs = torch.stack([read(each, side_px, crop_px) for each in batch])
            best = network(inputs).softmax(1).max(1)
            for each, probability, number in zip(batch, best.values, best.indices, strict=True):
                print(each, f"class {number}", f"{probability:.6f}")


if __name__ == "__main__":
    main()
