"""`alexnet predict` against timm, Ultralytics and a short PyTorch script: start, memory, folder.

`python -m benchmarks.predict_peers --peers-python /path/of/peers/bin/python` writes
`benchmarks/results/predict-peers-HARDWARE.json`, in some eight minutes on two idle cores. Whole
processes, on the same images, in turns; ratios are theirs over ours, and ours over the bare
imports. Each peer is optional; one that is not installed in that environment (by default this one)
is reported as absent. An environment that shares the PyTorch of this one:

    python -m venv peers
    python -c "import site; print(site.getsitepackages()[0])" > \
        peers/lib/python3.11/site-packages/shared.pth
    peers/bin/pip install --no-deps timm ultralytics huggingface_hub pyyaml tqdm psutil polars \
        opencv-python-headless nvidia-ml-py httpx2 httpcore2 truststore h11 anyio hf-xet \
        ultralytics-thop

timm (`predict_timm`) and the script (`predict_torch`) run the same network with the same weights;
one image without workers, a folder with two. Ultralytics runs `yolo classify predict` with an
untrained yolo11n-cls, its smallest network, at 224 px, offline and without telemetry and saved
images; that is about as many multiply-adds as alexnet-cifar at 28 px.
"""

import argparse
import itertools
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from alexnet_cli.manifest import ExportPrecision
from alexnet_cli.models.build import outline_network
from alexnet_cli.networks import Network, network_spec
from benchmarks import machine, peers
from benchmarks.metrics import Comparison, Goal
from benchmarks.operations import multiply_adds
from benchmarks.predict import write_images, write_model
from benchmarks.whole_process import Usage, measure

CIFAR, ALEXNET = "alexnet-cifar", "alexnet, shared weights"
INT8, SHARED = "alexnet-cifar, int8", "alexnet-cifar, shared weights"
BARE = "import onnxruntime, PIL.Image"
ONE, SIZES = "one", {"32×32": (32, 32), "500×375": (500, 375)}  # folders of images, their sizes
SIDES = {CIFAR: (32, 28), ALEXNET: (256, 227)}
GOALS = {"start": Goal(">=", 12), "memory": Goal(">=", 6), "folder": Goal(">=", 3)}
_YOLO = "from ultralytics.cfg import entrypoint; entrypoint()"
_WEIGHTS = """
import sys, ultralytics
ultralytics.settings.update({"sync": False})
ultralytics.YOLO("yolo11n-cls.yaml").save(sys.argv[1])
"""

Command = list[str | Path]


class Contenders:
    """Commands, and the files they need.

    Args:
        folder: Folder of the files.
        python: Interpreter of timm and Ultralytics.
        num_images: Images in each folder of images.
    """

    def __init__(self, folder: Path, python: str, num_images: int) -> None:
        self.folder, self.python = folder, python
        self.versions = {name: peers.version_in(python, name) for name in peers.OF_PREDICT}
        self.environment = {
            **os.environ, "YOLO_CONFIG_DIR": str(folder), "YOLO_OFFLINE": "True",
            "YOLO_AUTOINSTALL": "False",
        }  # fmt: skip
        for name, size in SIZES.items():
            write_images(folder / name, num_images, size)
        write_images(folder / ONE, 2, SIZES["500×375"])
        (folder / ONE / "00000.png").unlink()  # one JPEG is left
        self.models = {
            CIFAR: write_model(CIFAR, SIDES[CIFAR], folder / "cifar", shared=False),
            INT8: write_model(
                CIFAR, SIDES[CIFAR], folder / "int8", shared=False, precision=ExportPrecision.INT8
            ),
            SHARED: write_model(CIFAR, SIDES[CIFAR], folder / "shared", shared=True),
            ALEXNET: write_model("alexnet", SIDES[ALEXNET], folder / "large", shared=True),
        }
        self.weights = {
            CIFAR: self.models[SHARED].with_name("model.safetensors"),
            ALEXNET: self.models[ALEXNET].with_name("model.safetensors"),
        }
        if self.versions["ultralytics"]:
            save = [python, "-c", _WEIGHTS, folder / "yolo11n-cls.pt"]
            measure(save, self.environment)

    def ours(self, model: str, images: str) -> Command:
        """Return `alexnet predict`."""
        command = [sys.executable, "-m", "alexnet_cli", "predict", self.folder / images]
        return [*command, "--model", self.models[model]]

    def theirs(self, network: str, images: str) -> dict[str, Command]:
        """Return the commands of the installed peers, by name."""
        common = [self.weights[network], *map(str, SIDES[network]), self.folder / images]
        found: dict[str, Command] = {
            f"PyTorch script, {network}": [
                *(sys.executable, "-m", "benchmarks.predict_torch"), *common
            ]
        }  # fmt: skip
        if self.versions["timm"]:
            workers = "0" if images == ONE else "2"
            command = [self.python, "-m", "benchmarks.predict_timm", *common, workers]
            found[f"timm, {network}"] = command
        if self.versions["ultralytics"]:
            settings = {
                "model": self.folder / "yolo11n-cls.pt", "source": self.folder / images,
                "project": self.folder / "yolo", "batch": 32, "device": "cpu", "save": False,
            }  # fmt: skip
            options = [f"{name}={value}" for name, value in settings.items()]
            found["Ultralytics, yolo11n-cls"] = [
                *(self.python, "-c", _YOLO, "classify", "predict"), *options
            ]  # fmt: skip
        return found


def in_turns(
    commands: dict[str, Command], environment: dict[str, str], rounds: int, *, sample: bool = False
) -> dict[str, list[Usage]]:
    """Run each command once a round."""
    usages: dict[str, list[Usage]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            usages[name].append(measure(command, environment, sample=sample))
    return usages


def compare_starts(contenders: Contenders, rounds: int) -> list[Comparison]:
    """Compare one image from start to end, and the memory it takes."""
    pairs = {CIFAR: CIFAR, SHARED: CIFAR, ALEXNET: ALEXNET}
    theirs = {network: contenders.theirs(network, ONE) for network in SIDES}
    commands: dict[str, Command] = {BARE: [sys.executable, "-c", BARE]}
    commands |= {model: contenders.ours(model, ONE) for model in pairs}
    for found in theirs.values():
        commands |= found
    memory = in_turns(commands, contenders.environment, max(1, rounds // 3), sample=True)
    times = in_turns(commands, contenders.environment, rounds)
    comparisons = []
    for model, network in pairs.items():
        comparisons.append(_times("start", model, BARE, times, goal=None)[0])
        for peer in theirs[network]:
            comparisons += _times("start", model, peer, times, goal=GOALS["start"])
        for peer in (BARE, *theirs[network]):
            peaks = [[usage.peak_mb for usage in memory[side]] for side in (model, peer)]
            goal = GOALS["memory"] if peer != BARE else None
            what = f"{model}, one image, peak memory"
            inverse = peer != BARE
            comparisons.append(
                Comparison("memory", what, peer, "MB", *peaks, is_inverse=inverse, goal=goal)
            )
    return comparisons


def compare_folders(contenders: Contenders, rounds: int) -> list[Comparison]:
    """Compare folders of images, start included."""
    comparisons = []
    for images in SIZES:
        theirs = contenders.theirs(CIFAR, images)
        ours = {model: contenders.ours(model, images) for model in (CIFAR, INT8)}
        times = in_turns({**ours, **theirs}, contenders.environment, rounds)
        for model, peer in itertools.product(ours, theirs):
            goal = GOALS["folder"] if peer.startswith("timm") else None
            comparisons += _times(f"folder, {images} px", model, peer, times, goal=goal)
    return comparisons


def _times(
    part: str, model: str, peer: str, usages: dict[str, list[Usage]], *, goal: Goal | None
) -> list[Comparison]:
    """Compare wall-clock time, with the goal, and processor time."""
    comparisons = []
    for name, bound in (("wall", goal), ("processor", None)):
        samples = [
            [1e3 * getattr(usage, f"{name}_seconds") for usage in usages[side]]
            for side in (model, peer)
        ]
        what = f"{model}, {name} time"
        inverse = peer != BARE
        comparisons.append(
            Comparison(part, what, peer, "ms", *samples, is_inverse=inverse, goal=bound)
        )
    return comparisons


def floors(contenders: Contenders, num_images: int) -> dict[str, float]:
    """Return lower bounds for these networks on this machine.

    The matrix products of a folder of images at the rate of PyTorch's float32 product on all cores,
    and the weights to read. The bare imports are among the comparisons.
    """
    rate = machine.rates(machine.CPU, size=2048, repeats=5)["matmul_float32_tflops"]
    crop_px = SIDES[CIFAR][1]
    spec = network_spec(Network.ALEXNET_CIFAR, num_classes=10, crop_size_px=crop_px)
    operations = 2 * sum(multiply_adds(outline_network(spec), crop_px)) * num_images
    return {
        "folder_matrix_seconds": operations / (1e12 * rate["median"]),
        "alexnet_weights_mb": contenders.weights[ALEXNET].stat().st_size / 1e6,
    }


def run(python: str, *, num_images: int, rounds: int) -> dict[str, Any]:
    """Measure everything and return the result."""
    result = machine.new_result("predict-peers")
    with tempfile.TemporaryDirectory() as name:
        contenders = Contenders(Path(name), python, num_images)
        comparisons = compare_starts(contenders, rounds)
        comparisons += compare_folders(contenders, max(1, rounds // 2))
        lowest = floors(contenders, num_images)
    theirs = contenders.versions
    found = {peer: version or "not installed" for peer, version in theirs.items()}
    return {
        **result, "versions": {**result["versions"], **found}, "num_images": num_images,
        "absent": [peer for peer, version in theirs.items() if version is None],
        "floors": lowest, "figures": [each.to_dict() for each in comparisons],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers-python", default=sys.executable, help="has timm and Ultralytics")
    parser.add_argument("--rounds", type=int, default=5, help="of one image; half for folders")
    parser.add_argument("--images", type=int, default=2_000, help="of each folder")
    parser.add_argument("--out", type=Path, help="file for the result")
    given = parser.parse_args()
    result = run(given.peers_python, num_images=given.images, rounds=given.rounds)
    for row in result["figures"]:
        print(f"{row['part']}: {row['what']}, against {row['peer']}: {row['ratio']:.2f} times")
    out = given.out or machine.RESULTS / f"predict-peers-{machine.slug()}.json"
    machine.write_result(result, out)
    print(out, file=sys.stderr)


if __name__ == "__main__":
    main()
