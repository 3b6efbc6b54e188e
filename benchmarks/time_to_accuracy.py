"""Train to the end with several seeds, then evaluate each finished run once on the test set.

`python -m benchmarks.time_to_accuracy --model alexnet-cifar --recipe fast --seeds 1 2 3`; flags
after `--` are passed to `alexnet train`. The result is written after each seed; rerun the same
command at the same commit to continue.
"""

import argparse
import csv
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from alexnet_cli.training.device import resolve_device
from benchmarks import machine

LEVELS = (0.70, 0.75, 0.80, 0.85, 0.90)


def alexnet(*arguments: str) -> dict[str, Any]:
    """Run a command of this project and return what it prints as JSON."""
    command = [sys.executable, "-m", "alexnet_cli", *arguments, "--json"]
    result = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def train_and_measure(flags: list[str], *, seed: int, output: Path, views: int) -> dict[str, Any]:
    """Train and evaluate with one seed.

    Args:
        flags: Of `alexnet train`.
        seed: The seed of the run.
        output: Parent of the run folder.
        views: Crops averaged per test image.
    """
    trained = alexnet("train", "--no-plots", *flags, "--seed", str(seed), "--output", str(output))
    measured = alexnet("evaluate", trained["run"], "--split", "test", "--views", str(views))
    metrics = Path(trained["run"]) / "metrics.csv"
    rows = list(csv.DictReader(metrics.read_text().splitlines()))
    return {
        "seed": seed,
        "epochs": trained["epochs"],
        "best_epoch": trained["best_epoch"],
        "seconds": trained["seconds"],
        "val_top1": trained["best_val_top1"],
        "test_top1": measured["top1"],
        "test_top1_interval": measured["top1_interval"],
        "num_test_images": measured["num_images"],
        "seconds_to_val_top1": {str(level): seconds_to(rows, level) for level in LEVELS},
    }


def seconds_to(rows: list[dict[str, str]], level: float) -> float | None:
    """Return the seconds until a validation top-1 was first reached, None if it never was."""
    seconds = 0.0
    for row in rows:
        seconds += float(row["train_seconds"]) + float(row["val_seconds"])
        if float(row["val_top1"]) >= level:
            return round(seconds, 1)
    return None


def over_seeds(runs: list[dict[str, Any]]) -> dict[str, dict[str, float | None]]:
    """Return mean, standard deviation and extremes of each metric."""
    summary: dict[str, dict[str, float | None]] = {}
    for key in ("seconds", "val_top1", "test_top1"):
        values = [run[key] for run in runs]
        summary[key] = {
            "n": len(values),
            "mean": statistics.mean(values),
            "sd": statistics.stdev(values) if len(values) > 1 else None,
            "min": min(values),
            "max": max(values),
        }
    return summary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="alexnet-cifar")
    parser.add_argument("--recipe", default="fast", help="of alexnet train; none: leave it out")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--views", type=int, default=1, choices=[1, 5, 10])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--output", type=Path, default=Path("runs"), help="for the run folders")
    parser.add_argument("--out", type=Path, help="file for the result")
    parser.add_argument("train_flags", nargs="*", help="after --: flags for alexnet train")
    given = parser.parse_args()
    recipe = [] if given.recipe == "none" else ["--recipe", given.recipe]
    flags = ["--model", given.model, *recipe, *given.train_flags]
    device = resolve_device(given.device)
    name = f"time_to_accuracy-{given.recipe}-{given.model}-{machine.slug(device)}.json"
    out = given.out or machine.RESULTS / name
    command = " ".join(["alexnet train", *flags])
    result = {
        **machine.new_result("time_to_accuracy", device),
        "model": given.model,
        "command": command,
        "views": given.views,
        "runs": _finished(out, command),
    }
    done = {run["seed"] for run in result["runs"]}
    for seed in [seed for seed in given.seeds if seed not in done]:
        run = train_and_measure(
            [*flags, "--device", given.device], seed=seed, output=given.output, views=given.views
        )
        result["runs"].append(run)
        result["over_seeds"] = over_seeds(result["runs"])
        machine.write_result(result, out)
        print(f"seed {seed}: {run['test_top1']:.2%} on the test set, {run['seconds']:,.0f} s")
    print(out, file=sys.stderr)


def _finished(out: Path, command: str) -> list[dict[str, Any]]:
    """Return the runs of an earlier result of the same command and commit."""
    if not out.exists():
        return []
    earlier = json.loads(out.read_text(encoding="utf-8"))
    is_same = earlier["command"] == command and earlier["commit"] == machine.provenance()["commit"]
    runs: list[dict[str, Any]] = earlier["runs"] if is_same else []
    return runs


if __name__ == "__main__":
    main()
