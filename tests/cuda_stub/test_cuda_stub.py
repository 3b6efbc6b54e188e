"""What CUDA would be asked to do, on libraries that stand in for a GPU; see `build.py`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from alexnet_cli.config.recipes import recipe_settings
from alexnet_cli.config.schema import Recipe
from alexnet_cli.export.settings import Format
from alexnet_cli.inference.gpu_check import CUDA
from alexnet_cli.manifest import ExportPrecision
from alexnet_cli.networks import Network, network_spec
from tests.conftest import made_once
from tests.cuda_stub import build
from tests.made_runs import export_drawn

pytestmark = pytest.mark.skipif(
    not build.is_possible(), reason="needs gcc, objdump and PyTorch's CUDA libraries"
)
_ROOT = Path(__file__).parents[2]
_BN = Network.ALEXNET_CIFAR_BN


@pytest.fixture(scope="session")
def run_on_stub(every_worker):
    """Run Python with these arguments on the stub, and return what it printed."""
    folder = made_once(every_worker / "cuda-stub", build.build)

    def run(*arguments, cudnn=False):
        libraries = [folder / name for name in ("libcuda.so.1", *build.SONAMES)]
        preloaded = [path for path in libraries if cudnn or "cudnn" not in path.name]
        environment = {
            **os.environ, "LD_PRELOAD": " ".join(map(str, preloaded)),
            "LD_LIBRARY_PATH": str(folder), "PYTHONPATH": f"{_ROOT / 'src'}:{_ROOT}",
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, *map(str, arguments)],
            capture_output=True, text=True, check=False, env=environment,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def _fast(model):
    settings = {"model": model, **recipe_settings(Recipe.FAST, model, "cifar10")}
    return settings | {"image_size": 32}


@pytest.mark.parametrize(
    ("settings", "flags", "launches"),
    [
        pytest.param({"ema_decay": 0.9}, [], 143, id="default, ema"),
        pytest.param({}, ["--streamed"], 127, id="streamed", marks=pytest.mark.slow),
        pytest.param(_fast(Network.ALEXNET_CIFAR), [], 394, id="fast", marks=pytest.mark.slow),
        pytest.param(_fast(_BN), [], 416, id="fast, bn", marks=pytest.mark.slow),
    ],
)
def test_an_update_waits_for_nothing(run_on_stub, settings, flags, launches):
    printed = run_on_stub("-m", "tests.cuda_stub.counts", json.dumps(settings), *flags)
    _, *later = map(json.loads, printed.splitlines())  # the first one copies the epoch's draw
    assert len(later) == 2
    for counts in later:
        for part in ("batch", "update"):
            assert counts[part]["waits"] == counts[part]["device_to_host"] == 0, part
        assert 50 < counts["batch"]["launches"] + counts["update"]["launches"] <= launches


_LOAD = """
import sys
from pathlib import Path
from alexnet_cli.inference.session import load_model
for path in sys.argv[1:]:
    for for_many in (False, True):
        print(load_model(Path(path), device="cuda", for_many=for_many).provider)
"""


@pytest.mark.slow
@pytest.mark.parametrize("num_views", [1, 10])
@pytest.mark.parametrize("precision", [ExportPrecision.FP32, ExportPrecision.FP16])
@pytest.mark.parametrize("network", [each for each in Network if each.info.image_size_px == 32])
def test_every_node_that_depends_on_pixels_is_placed_on_the_gpu(
    network, precision, num_views, run_on_stub, tmp_path
):
    crop_px = network.info.own_crop_px(network.info.image_size_px)
    spec = network_spec(network, num_classes=10, crop_size_px=crop_px)
    export_drawn(spec, tmp_path, precision=precision, num_views=num_views, file_format=Format.ONNX)
    printed = run_on_stub("-c", _LOAD, *tmp_path.glob("*.onnx"), cudnn=True)
    assert printed.split() == [CUDA, CUDA]
