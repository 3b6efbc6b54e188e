import numpy as np
import pytest
from PIL import Image

from alexnet_cli.inference.session import load_model


@pytest.fixture(scope="session")
def model(exported):
    return load_model(exported.whole / "model.onnx", device="cpu")


@pytest.fixture(scope="session")
def paths(tmp_path_factory):
    """Seven images of several sizes, whose order is not that of their names."""
    folder = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    names = [f"{i}.png" for i in (5, 3, 9, 1, 7, 2, 8)]
    for number, name in enumerate(names):
        noise = generator.integers(0, 56, (12 + 3 * number, 20, 3))
        pixels = generator.integers(0, 200, (1, 1, 3)) + noise
        Image.fromarray(pixels.astype(np.uint8)).save(folder / name)
    return [folder / name for name in names]
