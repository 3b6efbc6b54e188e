"""Eight-bit files against float32 on this processor: errors and speed, in batches and alone.

`python -m benchmarks.int8 RUN` exports a trained run in several eight-bit forms, calibrated on
training images. It compares their logits with those of the float32 file on the test images: all at
once, and single images as `predict` runs them. Besides the exported form it measures those that
were considered: weights of 8 bits, with and without ONNX Runtime's `session.x64quantprecision`, and
signed activations (S8S8).

It writes `benchmarks/results/int8-PROCESSOR.json`. `python -m benchmarks.avx2 -m benchmarks.int8
RUN` measures as on a processor with AVX2 only. Rounds alternate between the forms.
"""

import argparse
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from onnxruntime.quantization import QuantType

from alexnet_cli.cli.export import load_comparison_images
from alexnet_cli.data.datasets import find_dataset
from alexnet_cli.devices import processor_kind
from alexnet_cli.export import precision as quantise
from alexnet_cli.export.graph import deploy
from alexnet_cli.export.settings import ExportSettings
from alexnet_cli.image import crop_centre
from alexnet_cli.manifest import ExportPrecision
from alexnet_cli.training.open_model import open_trained
from benchmarks import machine
from benchmarks.metrics import summarise

_NUM_ALONE = 200
_CHUNK = 250


@dataclass(frozen=True)
class Form:
    """A way to write and to run a file."""

    name: str  # in the result
    options: dict[str, Any] | None  # of the quantiser that differ from the export's; None: float32
    precise: bool = False  # with ONNX Runtime's option for processors without VNNI
    basic_alone: bool = False  # single images with basic optimisations, as float32


FORMS = (
    Form("fp32", None),
    Form("8-bit weights (before)", {"reduce_range": False}, basic_alone=True),
    Form("8-bit weights, x64quantprecision", {"reduce_range": False}, precise=True),
    Form("S8S8", {"reduce_range": False, "activation_type": QuantType.QInt8}),
    Form("int8 (as exported)", {}),
)


def build(run: Path, folder: Path, num_calibration: int) -> dict[str, Path]:
    """Write a file of each form."""
    trained = open_trained(run)
    _, calibration = load_comparison_images(
        trained.manifest, run, None, num_compared=1, num_calibration=num_calibration
    )
    if calibration is None:
        raise SystemExit(f"the images that {run} was trained on are not at hand")
    model = trained.network.to("cpu", torch.float32).eval()
    as_exported, files = quantise.quantize_static, {}
    for number, form in enumerate(FORMS):
        precision = ExportPrecision.FP32 if form.options is None else ExportPrecision.INT8
        settings = ExportSettings(precision=precision)
        quantise.quantize_static = _with(as_exported, form.options or {})
        graph, _ = deploy(model, trained.manifest, settings, calibration)
        files[form.name] = folder / f"{number}.onnx"
        files[form.name].write_bytes(graph.SerializeToString())
    quantise.quantize_static = as_exported
    return files


def _with(quantize: Any, options: dict[str, Any]) -> Any:
    return lambda *positional, **given: quantize(*positional, **{**given, **options})


def open_file(path: Path, form: Form, *, threads: int, alone: bool = False) -> Any:
    """Open a session as `load_model` does, for many images or for one alone."""
    options = ort.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, threads
    if form.precise:
        options.add_session_config_entry("session.x64quantprecision", "1")
    if alone and form.basic_alone:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def logits_of(session: Any, images_BSSC: Any, batch: int) -> Any:
    """Return logits (B, K)."""
    starts = range(0, len(images_BSSC), batch)
    parts = [session.run(["logits"], {"images": images_BSSC[i : i + batch]})[0] for i in starts]
    return np.concatenate(parts)


def errors(files: dict[str, Path], images_BSSC: Any, labels_B: Any) -> dict[str, dict[str, float]]:
    """Compare each form with float32, among many images and alone."""
    found: dict[str, dict[str, float]] = {}
    expected: Any = None
    for form in FORMS:
        path = files[form.name]
        many = logits_of(open_file(path, form, threads=2), images_BSSC, _CHUNK)
        alone = logits_of(open_file(path, form, threads=2, alone=True), images_BSSC[:_NUM_ALONE], 1)
        expected = many if expected is None else expected
        error, error_alone = np.abs(many - expected), np.abs(alone - expected[:_NUM_ALONE])
        found[form.name] = {
            "top1": float((many.argmax(1) == labels_B).mean()),
            "other_top_class": float((many.argmax(1) != expected.argmax(1)).mean()),
            "error_mean": float(error.mean()),
            "error_max": float(error.max()),
            "error_alone_mean": float(error_alone.mean()),
            "error_alone_max": float(error_alone.max()),
            "alone_against_many_max": float(np.abs(alone - many[:_NUM_ALONE]).max()),
        }
        print(f"{form.name:<34}", {key: round(v, 4) for key, v in found[form.name].items()})
    found["fp32"]["logits_std"] = float(expected.std())
    return found


def speeds(files: dict[str, Path], images_BSSC: Any, *, repeats: int) -> list[dict[str, Any]]:
    """Time the forms in turns, at batch 1 and 64, with one thread and two."""
    rows = []
    for threads in (1, 2):
        sessions = {f.name: open_file(files[f.name], f, threads=threads) for f in FORMS}
        for batch in (1, 64):
            images = np.ascontiguousarray(images_BSSC[:batch])
            samples: dict[str, list[float]] = {name: [] for name in sessions}
            for turn in range(1 + (repeats if batch == 1 else max(5, repeats // 6))):
                for name, session in sessions.items():
                    begin = time.perf_counter()
                    session.run(["logits"], {"images": images})
                    if turn:  # the first warms up
                        samples[name].append(1e3 * (time.perf_counter() - begin))
            row = {"threads": threads, "batch": batch}
            rows.append({**row, "ms": {name: summarise(ms) for name, ms in samples.items()}})
            fp32 = statistics.median(samples["fp32"])
            ratios = {name: round(fp32 / statistics.median(ms), 2) for name, ms in samples.items()}
            print(row, ratios, flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a trained run")
    parser.add_argument("--calibration-images", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=60, help="rounds at batch 1")
    parser.add_argument("--out", type=Path, help="file for the result")
    given = parser.parse_args()
    result = machine.new_result("int8", onnxruntime=ort.__version__)
    with tempfile.TemporaryDirectory() as folder:
        files = build(given.run, Path(folder), given.calibration_images)
        manifest = open_trained(given.run).manifest
        origin, spec = manifest.provenance, manifest.input
        test = find_dataset(origin.data).load_test()
        squares = test.take(np.arange(len(test))).load_images(spec.image_size_px)
        images = np.ascontiguousarray(crop_centre(squares, spec.crop_size_px))
        labels = test.take(np.arange(len(test))).labels_N
        result |= {
            "processor": processor_kind(),
            "network": manifest.network.name,
            "num_images": len(images),
            "num_alone": _NUM_ALONE,
            "errors": errors(files, images, labels),
            "speeds": speeds(files, images, repeats=given.repeats),
        }
    kind = processor_kind().partition(" with ")[2].lower() or "other"
    out = given.out or machine.RESULTS / f"int8-{kind}.json"
    machine.write_result(result, out)
    print(out, file=sys.stderr)


if __name__ == "__main__":
    main()
