"""Record weights, logits, metrics and splits, which a refactoring must not change.

`python -m benchmarks.frozen record before.json --src OLD/src` runs the commands of one source
tree and writes their results; run it again with the new tree, then
`python -m benchmarks.frozen compare before.json after.json`. Both runs belong on one machine:
weights depend on the processor and on the number of threads.

The 40 updates on CIFAR-10 need the archive in the cache folder; `--no-cifar10` leaves them out.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

_NUM_UPDATES = 40
_CIFAR10_RUNS = {
    "default": [],
    "fast": ["--recipe", "fast"],
    "alexnet-cifar-bn": ["--model", "alexnet-cifar-bn"],
    "cuda-convnet-13pct": ["--model", "cuda-convnet-13pct"],
    "ema": ["--ema-decay", "0.99"],
}
_EXPORTS = {
    "fp32": [],
    "int8": ["--precision", "int8"],
    "ten views": ["--views", "10"],
    "shared weights": ["--format", "all", "--shared-weights"],
}
# A run that has learnt: int8 is refused for one that has not.
_LEARNT = [
    "--epochs", "2", "--image-size", "16", "--crop-size", "16", "--kernels", "half", "--lr", "0.02",
    "--batch-size", "32", "--dropout", "0.1", "--no-flip", "--colour-noise", "0",
    "--val-size", "2500", "--schedule", "linear",
]  # fmt: skip
_TENSOR_FILES = ("model.safetensors", "optimizer.safetensors")


class Tree:
    """Commands of one source tree, run in a folder of their own.

    Args:
        source: The tree's `src` folder.
        folder: The working folder.
    """

    def __init__(self, source: Path, folder: Path) -> None:
        self.folder = folder
        self._environment = {**os.environ, "PYTHONPATH": str(source.resolve())}

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start `alexnet` with arguments."""
        return subprocess.Popen(
            [sys.executable, "-m", "alexnet_cli", *arguments],
            cwd=self.folder, env=self._environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, *arguments: str) -> str:
        """Run `alexnet` with arguments and return its stdout."""
        process = self.start(*arguments)
        out, err = process.communicate()
        if process.returncode:
            raise SystemExit(f"alexnet {' '.join(arguments)} failed:\n{err}")
        return out

    def train_updates(self, name: str, arguments: Sequence[str]) -> dict[str, str]:
        """Train for `_NUM_UPDATES` updates and return the hashes of the checkpoint's tensors."""
        flags = ["--seed", "1", "--save-steps", str(_NUM_UPDATES), "--no-plots", "--name", name]
        process = self.start("train", *arguments, *flags)
        checkpoint = self.folder / "runs" / name / "checkpoints" / f"step-{_NUM_UPDATES}"
        while not (checkpoint / "state.json").exists():
            if process.poll() is not None:
                raise SystemExit(f"training {name} ended early:\n{process.communicate()[1]}")
            time.sleep(0.05)
        process.kill()
        process.communicate()
        return _tensor_hashes(checkpoint)


def _tensor_hashes(checkpoint: Path) -> dict[str, str]:
    return {
        name: hashlib.sha256((checkpoint / name).read_bytes()).hexdigest() for name in _TENSOR_FILES
    }


def _logits_hash(model: Path) -> str:
    """Return the hash of an exported model's logits for fixed noise."""
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    node = session.get_inputs()[0]
    shape = (4, *node.shape[1:])
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    logits = session.run(["logits"], {node.name: images})[0]
    return hashlib.sha256(logits.tobytes()).hexdigest()


def _numbers(document: Any) -> Any:
    """Return the numbers and the structure of a JSON document, without its texts."""
    if isinstance(document, dict):
        return {key: _numbers(value) for key, value in document.items()}
    if isinstance(document, list):
        return [_numbers(value) for value in document]
    return None if isinstance(document, str) else document


def record(source: Path, *, with_cifar10: bool) -> dict[str, Any]:
    """Run the commands of a source tree and return their results."""
    with tempfile.TemporaryDirectory(prefix="alexnet-frozen-") as name:
        tree = Tree(source, Path(name))
        shapes = ["train", "--data", "shapes", "--seed", "1", "--no-plots"]
        tree.run(*shapes, "--epochs", "2", "--val-size", "5000", "--name", "shapes")
        tree.run(*shapes, *_LEARNT, "--name", "learnt")
        run = tree.folder / "runs" / "shapes"
        newest = max(run.glob("checkpoints/step-*"), key=lambda path: int(path.name[5:]))
        state = json.loads((newest / "state.json").read_text())
        results: dict[str, Any] = {
            "shapes": _tensor_hashes(newest),
            "split": state["manifest"]["provenance"]["images"],
            "evaluate": _numbers(json.loads(tree.run("evaluate", "runs/learnt", "--json"))),
            "evaluate val": _numbers(
                json.loads(tree.run("evaluate", "runs/learnt", "--split", "val", "--json"))
            ),
        }
        for form, flags in _EXPORTS.items():
            output = form.replace(" ", "-")
            tree.run("export", "runs/learnt", "--output", output, *flags)
            models = sorted((tree.folder / output).glob("*.onnx"))
            results[f"logits, {form}"] = [_logits_hash(path) for path in models]
        for network in json.loads(tree.run("models", "--json")):
            label = network["name"]
            results[f"models, {label}"] = _numbers(network)
            explained = json.loads(tree.run("explain", label, "--json"))
            results[f"explain, {label}"] = _numbers(
                {key: value for key, value in explained.items() if key != "departures"}
            )
        if with_cifar10:
            for form, arguments in _CIFAR10_RUNS.items():
                results[f"cifar10, {form}"] = tree.train_updates(form, arguments)
    return results


def compare(before: dict[str, Any], after: dict[str, Any]) -> int:
    """Print what is equal and what differs; return the number of differences."""
    differing = 0
    for name in dict.fromkeys([*before, *after]):
        same = before.get(name) == after.get(name)
        differing += not same
        print(f"{'equal    ' if same else 'DIFFERENT'}  {name}")
    return differing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record")
    recording.add_argument("output", type=Path)
    recording.add_argument("--src", type=Path, default=Path(__file__).resolve().parents[1] / "src")
    recording.add_argument("--no-cifar10", action="store_true")
    comparing = commands.add_parser("compare")
    comparing.add_argument("before", type=Path)
    comparing.add_argument("after", type=Path)
    chosen = parser.parse_args()
    if chosen.command == "record":
        results = record(chosen.src, with_cifar10=not chosen.no_cifar10)
        chosen.output.write_text(json.dumps(results, indent=1))
        return
    before, after = (json.loads(path.read_text()) for path in (chosen.before, chosen.after))
    sys.exit(1 if compare(before, after) else 0)


if __name__ == "__main__":
    main()
