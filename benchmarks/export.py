"""The speed of exported files on the CPU: LRN forms, int8 against float32, batch 1 and 64.

`python -m benchmarks.export` writes `benchmarks/results/export-HARDWARE.json`, in some minutes on
two cores. Weights are random; rounds alternate; a ratio is that of the medians. Processor time is
measured besides wall-clock time, because other jobs do not add to it.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch

from alexnet_cli.export.graph import deploy
from alexnet_cli.export.settings import ExportSettings
from alexnet_cli.manifest import ExportPrecision, InputSpec, LrnForm, Manifest, Provenance
from alexnet_cli.models.build import build_network
from alexnet_cli.networks import Network, network_spec
from benchmarks import machine
from benchmarks.metrics import Comparison, Goal

SIDES = {Network.ALEXNET_CIFAR: (32, 28), Network.ALEXNET: (256, 227)}
KINDS = {
    "fp32, native LRN": ExportSettings(lrn_form=LrnForm.NATIVE),
    "fp32": ExportSettings(),
    "int8": ExportSettings(precision=ExportPrecision.INT8),
}
INT8_GOAL = 2.5  # × the images per second of float32, alexnet, batch 1


def build(network: Network, folder: Path, *, num_calibration: int = 8) -> dict[str, Path]:
    """Write a file of each kind, with random weights; int8 is calibrated on images of noise."""
    image_px, crop_px = SIDES[network]
    spec = network_spec(network, num_classes=10, crop_size_px=crop_px)
    scaling = InputSpec(image_px, crop_px, scale=(0.02,) * 3, shift=(-2.5,) * 3)
    origin = Provenance("shapes", 0, 1, 0, 0.0, "", {})
    manifest = Manifest(spec, scaling, tuple(map(str, range(10))), origin)
    model = build_network(spec).eval()
    noise = _noise(num_calibration, crop_px)
    files = {}
    for kind, settings in KINDS.items():
        graph, _ = deploy(model, manifest, settings, noise)
        files[kind] = folder / f"{network}-{len(files)}.onnx"
        files[kind].write_bytes(graph.SerializeToString())
    return files


def _noise(count: int, side_px: int) -> Any:
    return np.random.default_rng(0).integers(0, 256, (count, side_px, side_px, 3), np.uint8)


def time_files(
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
) -> list[Comparison]:
    """Compare the convolutional with the native LRN, and int8 with float32 as exported."""
    comparisons = []
    with tempfile.TemporaryDirectory() as folder:
        for network in networks:
            files = build(network, Path(folder))
            for batch in batches:
                rounds = repeats if batch == 1 else max(3, repeats // 10)
                images = _noise(batch, SIDES[network][1])
                seconds = time_files(files, images, repeats=rounds, threads=threads)
                comparisons += _comparisons(seconds, network, batch)
    return comparisons


def _comparisons(
    seconds: dict[str, dict[str, list[float]]], network: Network, batch: int
) -> list[Comparison]:
    comparisons = []
    for ours, theirs in (("fp32", "fp32, native LRN"), ("int8", "fp32")):
        has_goal = ours == "int8" and network is Network.ALEXNET and batch == 1
        goal = Goal(">=", INT8_GOAL) if has_goal else None
        for kind in ("wall", "processor"):
            samples = [[1e3 * s for s in seconds[side][kind]] for side in (ours, theirs)]
            what = f"{network}, {ours}, batch {batch}, {kind} time"
            comparisons.append(
                Comparison("export", what, theirs, "ms", *samples, is_inverse=True, goal=goal)
            )
    return comparisons


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=60, help="rounds at batch 1")
    parser.add_argument("--threads", type=int, default=1, help="of ONNX Runtime")
    parser.add_argument("--out", type=Path, help="file for the result")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    result = {**machine.new_result("export", onnxruntime=ort.__version__), "figures": []}
    for each in measure(list(SIDES), [1, 64], repeats=given.repeats, threads=given.threads):
        result["figures"].append(each.to_dict())
        print(f"{each.what}, against {each.peer}: {each.ratio:.2f}× faster", flush=True)
    out = given.out or machine.RESULTS / f"export-{machine.slug()}.json"
    machine.write_result(result, out)
    print(out, file=sys.stderr)


if __name__ == "__main__":
    main()
