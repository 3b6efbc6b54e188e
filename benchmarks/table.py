"""The page of results: `python -m benchmarks.table` writes `docs/benchmarks.md`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import command_sections
from benchmarks.machine import RESULTS, ROOT
from benchmarks.table_rows import HEADER, provenance, row_of, spread, title

PAGE = ROOT / "docs" / "benchmarks.md"

_INTRODUCTION = """\
# Benchmarks

Made by `python -m benchmarks.table` from the files in `benchmarks/results/`; do not edit.

The same network and data trained by this project and by its peers, each in a process of its own, in
turns (A B A B): the plain loop in the style of torchvision's classification reference (float32,
channels-first, `torch.nn.LocalResponseNorm`, PIL images through a `DataLoader` with two workers,
the loss read back at every step), and timm's loader and optimizer where timm is installed. Figures
are medians, with the lowest and the highest in brackets. A ratio is that of the medians, with the
lowest and the highest of the single rounds.

- `lrn`: one normalisation, forward and backward.
- `train_step`: one update on a batch that is there already. The fraction of the matrix rate counts
  convolutions and matrix layers only, six operations a multiply-add, without the input gradient of
  the first layer; the rate of the matrix product is measured in the same rounds.
- `epoch`: the data path included; as a ratio to the same number of updates alone, and against the
  peers.
- `evaluate`: test images to a finished evaluation.
- `memory`: peak resident memory, each side in its own process, from loading to a saved checkpoint.
- `checkpoint`: what a save inside an epoch costs, against one percent of the default interval; the
  difference of two times, so that a single round may be below zero.

`python -m benchmarks.run` measures (`--short`, or `nox -s bench`, in a few minutes);
`python -m benchmarks.time_to_accuracy` trains to the end over several seeds. Sections about single
commands name theirs.
"""


def render(results: list[dict[str, Any]]) -> str:
    """Return the page of results, in their order; results of other kinds are left out."""
    shown = [result for result in results if result.get("kind") in _SECTIONS]
    sections = [_INTRODUCTION, *(_SECTIONS[result["kind"]](result) for result in shown)]
    if int8 := [result for result in results if result.get("kind") == "int8"]:
        sections.append(command_sections.int8(int8))
    if not shown:
        sections.append("No result has been committed yet.\n")
    return "\n".join(sections)


def _benchmark(result: dict[str, Any]) -> str:
    machine, rates = result["machine"], result["rates"]
    lines = [
        f"## {title(machine)}",
        "",
        provenance(result),
        f"LRN by {machine['lrn']}. Load average before: {machine['load_before'][0]}; "
        f"form: {result['form']}.",
        "Measured rates: "
        + ", ".join(f"{name} {spread(rate)}" for name, rate in rates.items())
        + ".",
        "",
        *HEADER,
        *map(row_of, result["figures"]),
        "",
    ]
    return "\n".join(lines)


def _time_to_accuracy(result: dict[str, Any]) -> str:
    lines = [
        f"## Time to accuracy: {result['model']}, {result['command']}, {title(result['machine'])}",
        "",
        provenance(result),
        f"{_seeds(len(result['runs']))}; top-1 on the test set, once per finished run, "
        f"{result['views']} view(s), with Wilson's 95 % interval.",
        "",
        "| seed | epochs | training seconds | val top-1 (best epoch) | test top-1 | 95 % |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for run in result["runs"]:
        low, high = run["test_top1_interval"]
        lines.append(
            f"| {run['seed']} | {run['epochs']} | {run['seconds']:,.0f} | {run['val_top1']:.2%} "
            f"| {run['test_top1']:.2%} | {low:.2%} to {high:.2%} |"
        )
    over = result["over_seeds"]
    lines += [
        f"| mean ± sd | | {_mean_sd(over['seconds'], '{:,.0f}')} "
        f"| {_mean_sd(over['val_top1'], '{:.2%}')} | {_mean_sd(over['test_top1'], '{:.2%}')} | |",
        "",
        "Seconds of training and validation until a validation top-1 was first reached, by seed: "
        + _levels(result["runs"])
        + ".",
        "",
    ]
    return "\n".join(lines)


def _seeds(count: int) -> str:
    return "1 seed" if count == 1 else f"{count} seeds"


def _levels(runs: list[dict[str, Any]]) -> str:
    levels = runs[0]["seconds_to_val_top1"] if runs else {}
    parts = []
    for level in levels:
        times = [run["seconds_to_val_top1"][level] for run in runs]
        shown = ("not reached" if t is None else f"{t:,.0f}" for t in times)
        parts.append(f"{float(level):.0%}: {', '.join(shown)}")
    return "; ".join(parts)


def _mean_sd(values: dict[str, float | None], form: str) -> str:
    sd = values["sd"]
    return form.format(values["mean"]) + ("" if sd is None else f" ± {form.format(sd)}")


def read_results(folder: Path = RESULTS) -> list[dict[str, Any]]:
    """Return the results in a folder that have a kind, by file name."""
    contents = (json.loads(path.read_text()) for path in sorted(folder.glob("*.json")))
    return [result for result in contents if isinstance(result, dict) and "kind" in result]


_SECTIONS: dict[str, Callable[[dict[str, Any]], str]] = {
    "benchmark": _benchmark,
    "time_to_accuracy": _time_to_accuracy,
    "start": command_sections.start,
    "download": command_sections.download,
    "export": command_sections.export,
    "predict": command_sections.predict,
    "predict-peers": command_sections.predict_peers,
    "many_seeds": command_sections.many_seeds,
}


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(render(read_results()))
