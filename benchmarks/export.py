"""How fast exported files answer on the CPU: LRN forms, int8 against float32, batch 1 and 64.

`python -m benchmarks.export` writes `benchmarks/results/export-HARDWARE.json`, some minutes on two
cores; random weights, for speed alone. Rounds alternate; a ratio is that of the medians. Processor
time is measured beside wall-clock time, because it does not count what other jobs take.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

if not __package__:  # run as a file: let it find its siblings as `-m` does
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
import onnxruntime as ort
import torch

from alexnet_cli.export.graph import deploy, plan_deployment
from alexnet_cli.export.settings import ExportSettings
from alexnet_cli.files import atomic_write
from alexnet_cli.manifest import ExportPrecision, InputSpec, LrnForm, Manifest, Provenance
from alexnet_cli.models.build import build_network
from alexnet_cli.networks import Network, network_spec
from benchmarks import machine
from benchmarks.figures import Figure, Goal

RESULTS = Path(__file__).resolve().parent / "results"
SIDES = {Network.ALEXNET_CIFAR: (32, 28), Network.ALEXNET: (256, 227)}
KINDS = {
    "fp32, native LRN": ExportSettings(lrn_form=LrnForm.NATIVE),
    "fp32": ExportSettings(),
    "int8": ExportSettings(precision=ExportPrecision.INT8),
}
INT8_GOAL = 2.5  # times the images per second of float32, alexnet, batch 1


def build(network: Network, folder: Path, *, num_calibration: int = 8) -> dict[str, Path]:
    """Write a file of each kind, with random weights.

    Args:
        network: Which network.
        folder: Where the files go.
        num_calibration: Images of noise whose ranges int8 takes.
    """
    image_px, crop_px = SIDES[network]
    spec = network_spec(network, num_classes=10, crop_size_px=crop_px)
    scaling = InputSpec(image_px, crop_px, scale=(0.02,) * 3, shift=(-2.5,) * 3)
    origin = Provenance("shapes", 0, 1, 0, 0.0, "", {})
    manifest = Manifest(spec, scaling, tuple(map(str, range(10))), origin)
    core = build_network(spec).eval()
    noise = _noise(num_calibration, crop_px)
    files = {}
    for kind, settings in KINDS.items():
        deployment = plan_deployment(core, settings, num_calibration)
        graph = deploy(core, replace(manifest, deployment=deployment), deployment, noise)
        files[kind] = folder / f"{network}-{len(files)}.onnx"
        files[kind].write_bytes(graph.SerializeToString())
    return files


def _noise(count: int, side_px: int) -> Any:
    return np.random.default_rng(0).integers(0, 256, (count, side_px, side_px, 3), np.uint8)


def clock(
    files: dict[str, Path], images_BSSC: Any, *, repeats: int, threads: int
) -> dict[str, dict[str, list[float]]]:
    """Run the files in turns and return seconds by kind, `wall` and `processor`."""
    sessions = {}
    for kind, path in files.items():
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, 4
        sessions[kind] = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    seconds: dict[str, dict[str, list[float]]] = {k: {"wall": [], "processor": []} for k in files}
    for round_number in range(repeats + 1):
        for kind, session in sessions.items():
            wall, processor = time.perf_counter(), time.process_time()
            session.run(["logits"], {"images": images_BSSC})
            if round_number:  # the first warms up
                seconds[kind]["wall"].append(time.perf_counter() - wall)
                seconds[kind]["processor"].append(time.process_time() - processor)
    return seconds


def measure(
    networks: list[Network], batches: list[int], *, repeats: int, threads: int
) -> list[Figure]:
    """Compare the convolutional with the native LRN, and int8 with float32 as exported."""
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        for network in networks:
            files = build(network, Path(folder))
            for batch in batches:
                rounds = repeats if batch == 1 else max(3, repeats // 10)
                images = _noise(batch, SIDES[network][1])
                seconds = clock(files, images, repeats=rounds, threads=threads)
                figures += _figures(seconds, network, batch)
    return figures


def _figures(
    seconds: dict[str, dict[str, list[float]]], network: Network, batch: int
) -> list[Figure]:
    figures = []
    for ours, theirs in (("fp32", "fp32, native LRN"), ("int8", "fp32")):
        has_goal = ours == "int8" and network is Network.ALEXNET and batch == 1
        goal = Goal(">=", INT8_GOAL) if has_goal else None
        for kind in ("wall", "processor"):
            samples = [[1e3 * s for s in seconds[side][kind]] for side in (ours, theirs)]
            what = f"{network}, {ours}, batch {batch}, {kind} time"
            figures.append(
                Figure("export", what, theirs, "ms", *samples, is_inverse=True, goal=goal)
            )
    return figures


def main() -> None:
    """Read the command line, measure, print and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=60, help="rounds at batch 1")
    parser.add_argument("--threads", type=int, default=1, help="of ONNX Runtime")
    parser.add_argument("--out", type=Path, help="file for the result")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    cpu = torch.device("cpu")
    result = {
        "kind": "export",
        **machine.provenance(),
        "versions": {**machine.versions(), "onnxruntime": ort.__version__},
        "machine": machine.describe(cpu),
        "figures": [],
    }
    for figure in measure(list(SIDES), [1, 64], repeats=given.repeats, threads=given.threads):
        result["figures"].append(figure.to_dict())
        print(f"{figure.what}, against {figure.peer}: {figure.ratio:.2f} times as fast", flush=True)
    result["load_after"] = [round(load, 2) for load in os.getloadavg()]
    out = given.out or RESULTS / f"export-{machine.slug(cpu)}.json"
    atomic_write(out, (json.dumps(result, indent=1) + "\n").encode())
    print(out, file=sys.stderr)


if __name__ == "__main__":
    main()
