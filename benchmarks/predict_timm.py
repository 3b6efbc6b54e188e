"""A peer of `benchmarks.predict_peers`: the steps of timm's `inference.py`, which is in no wheel.

`python -m benchmarks.predict_timm model.safetensors SIDE CROP FOLDER WORKERS`. Model, data
settings, dataset and loader come from timm's functions, in that script's order and with its
defaults (batch 256, prefetcher, two workers for a folder). The network is the same as for the
others, registered with timm, which has no AlexNet. Left out, in timm's favour: pandas, the names of
ImageNet's classes, the log.

Source: `huggingface/pytorch-image-models`, `inference.py` (its steps, none of its code).
"""

import csv
import sys

import torch
from timm.data import create_dataset, create_loader, resolve_data_config
from timm.models import create_model, register_model
from torch import nn

from benchmarks.predict_torch import build

_BATCH = 256


@register_model
def alexnet_of_the_benchmark(*, crop_px: int, **_of_timm: object) -> nn.Module:
    """Return the network; the other arguments of `create_model` are for pretrained weights."""
    return build(crop_px)


def main() -> None:
    """Write file name, class and probability as CSV."""
    weights, folder = sys.argv[1], sys.argv[4]
    side_px, crop_px, workers = int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[5])
    model = create_model("alexnet_of_the_benchmark", checkpoint_path=weights, crop_px=crop_px)
    model.eval()
    asked = {
        "input_size": (3, crop_px, crop_px), "crop_pct": crop_px / side_px,
        "interpolation": "bilinear", "mean": (2 / 5.1,) * 3, "std": (1 / 5.1,) * 3,
    }  # fmt: skip
    dataset = create_dataset(name="", root=folder, split="validation")
    loader = create_loader(
        dataset, batch_size=_BATCH, use_prefetcher=True, num_workers=workers,
        device=torch.device("cpu"), **resolve_data_config(asked, model=model),
    )  # fmt: skip
    rows = []
    with torch.inference_mode():
        for images, _ in loader:
            best = model(images).softmax(-1).topk(1)
            rows += zip(best.indices.tolist(), best.values.tolist(), strict=True)
    table = csv.writer(sys.stdout)
    for name, (indices, values) in zip(dataset.filenames(basename=True), rows, strict=True):
        table.writerow([name, indices[0], values[0]])


if __name__ == "__main__":
    main()
