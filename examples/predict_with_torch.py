"""Use an alexnet-cifar export without this package: torch, safetensors, Pillow and numpy suffice.

`python predict_with_torch.py model.safetensors image.png`

The network is written out here; the manifest in the file says which variant it is. Its weights have
the names of this module's.
"""

import json
import sys

import numpy as np
import torch
from PIL import Image, ImageOps
from safetensors import safe_open
from torch import nn

if len(sys.argv) < 3:
    print(__doc__, file=sys.stderr)
    sys.exit(2)


def activation() -> nn.Module:
    """Return what follows a hidden layer."""
    return nn.ReLU() if spec["activation"] == "relu" else nn.Tanh()


def norm() -> nn.Module:
    """Return local response normalisation, or nothing in its place."""
    return nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=2.0) if spec["lrn"] else nn.Identity()


def pool() -> nn.Module:
    """Pool with overlapping windows, or with plain ones."""
    window = 3 if spec["pool"] == "overlapping" else 2
    return nn.MaxPool2d(window, stride=2, ceil_mode=window == 3)


def conv(inputs: int, outputs: int, size: int, groups: int = 1) -> nn.Module:
    """Convolve without changing the size."""
    return nn.Conv2d(inputs, outputs, size, padding=size // 2, groups=groups)


class AlexNetCifar(nn.Module):
    """The paper's layers at the scale of 32 pixels."""

    def __init__(self, groups: int, side: int) -> None:
        super().__init__()
        part = 2 if spec.get("kernels") == "half" else 1
        one, two, three = 96 // part, 256 // part, 384 // part
        self.features = nn.Sequential(
            conv(3, one, 5), activation(), norm(), pool(),
            conv(one, two, 5, groups), activation(), norm(), pool(),
            conv(two, three, 3), activation(),
            conv(three, three, 3, groups), activation(),
            conv(three, 256, 3, groups), activation(), pool(),
        )  # fmt: skip
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(256 * side * side, 1024), activation(), nn.Dropout(),
            nn.Linear(1024, 1024), activation(), nn.Dropout(),
            nn.Linear(1024, spec["num_classes"]),
        )  # fmt: skip

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits (N, K) of scaled images (N, 3, S, S)."""
        return self.classifier(self.features(images))


with safe_open(sys.argv[1], framework="pt") as file:
    manifest = json.loads(file.metadata()["alexnet.manifest"])
    weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
spec = manifest["network"]
if spec["name"] != "alexnet-cifar":
    sys.exit(f"this example has only alexnet-cifar written out, not {spec['name']}")
network = AlexNetCifar(spec["groups"], spec["crop_size_px"] // 8)
network.load_state_dict(weights, strict=True)

side, crop = manifest["input"]["image_size_px"], manifest["input"]["crop_size_px"]
image = Image.open(sys.argv[2])
image.draft(None, (2 * side, 2 * side))  # shrinks a large JPEG as it is decoded, as in training
image = ImageOps.exif_transpose(image)
if image.mode.startswith("I;16"):  # grey of 16 bits
    image = Image.fromarray(np.rint(np.asarray(image) / 257).astype(np.uint8))
if image.has_transparency_data:
    white = Image.new("RGBA", image.size, "white")
    image = Image.alpha_composite(white, image.convert("RGBA"))
image = image.convert("RGB")
short = min(image.size)
left, top = (image.width - short) // 2, (image.height - short) // 2
square = image.crop((left, top, left + short, top + short)).resize((side, side), Image.BILINEAR)
margin = (side - crop) // 2
pixels = np.asarray(square)[margin : margin + crop, margin : margin + crop]

scale, shift = (torch.tensor(manifest["input"][key]) for key in ("scale", "shift"))
inputs = torch.tensor(pixels) * scale + shift  # height, width, RGB
with torch.inference_mode():
    probabilities = network.eval()(inputs.permute(2, 0, 1)[None]).softmax(dim=1)[0]
best = int(probabilities.argmax())
print(json.dumps({"class": manifest["classes"][best], "probability": float(probabilities[best])}))
