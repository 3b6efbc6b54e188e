"""From the results to the page: `python -m benchmarks.table` writes `docs/benchmarks.md`."""

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS, PAGE = ROOT / "benchmarks" / "results", ROOT / "docs" / "benchmarks.md"

HEADER = (
    "| part | what | against | ours | theirs | ratio | goal |",
    "| --- | --- | --- | --- | --- | --- | --- |",
)
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
`python -m benchmarks.time_to_accuracy` trains to the end over several seeds.
"""


def render(results: list[dict[str, Any]]) -> str:
    """Return the page for results in the order given; those of other kinds are passed over."""
    sections = [_INTRODUCTION]
    for result in results:
        if result.get("kind") == "benchmark":
            sections.append(_benchmark(result))
        elif result.get("kind") == "time_to_accuracy":
            sections.append(_time_to_accuracy(result))
        elif result.get("kind") == "export":
            sections.append(_export(result))
    if len(sections) == 1:
        sections.append("No result has been committed yet.\n")
    return "\n".join(sections)


def row_of(figure: dict[str, Any]) -> str:
    """Return one row of the table."""
    ours, theirs = (f"{_spread(figure[side])} {figure['unit']}" for side in ("ours", "theirs"))
    ratio = _spread(
        {"median": figure["ratio"], "min": figure["ratio_min"], "max": figure["ratio_max"]}
    )
    verdict = {True: ", met", False: ", **not met**", None: "–"}[figure["met"]]
    goal = (figure["goal"] or "").replace(">=", "≥").replace("<=", "≤") + verdict
    cells = (figure["part"], figure["what"], figure["peer"], ours, theirs, ratio, goal)
    return f"| {' | '.join(cells)} |"


def _benchmark(result: dict[str, Any]) -> str:
    machine, rates = result["machine"], result["rates"]
    lines = [
        f"## {_title(machine)}",
        "",
        _provenance(result),
        f"LRN by {machine['lrn']}. Load average before: {machine['load_before'][0]}; "
        f"form: {result['form']}.",
        "Measured rates: "
        + ", ".join(f"{name} {_spread(rate)}" for name, rate in rates.items())
        + ".",
        "",
        *HEADER,
        *map(row_of, result["figures"]),
        "",
    ]
    return "\n".join(lines)


def _export(result: dict[str, Any]) -> str:
    machine = result["machine"]
    lines = [
        f"## Exported files: {_title(machine)}",
        "",
        _provenance(result),
        "Random weights, ONNX Runtime on the CPU, files in turns (`python -m benchmarks.export`). "
        "Processor time does not count what other jobs took. Load average before: "
        f"{machine['load_before'][0]}.",
        "",
        *HEADER,
        *map(row_of, result["figures"]),
        "",
    ]
    return "\n".join(lines)


def _time_to_accuracy(result: dict[str, Any]) -> str:
    lines = [
        f"## Time to accuracy: {result['model']}, {result['command']}, {_title(result['machine'])}",
        "",
        _provenance(result),
        f"{len(result['runs'])} seeds; top-1 on the test set, once per finished run, "
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


def _title(machine: dict[str, Any]) -> str:
    cpu = f"{machine['cpu']} ({', '.join(machine['cpu_flags'])}), {machine['threads']} threads"
    return cpu if machine["device"] == "cpu" else f"{machine['device']}, {cpu}"


def _provenance(result: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    return f"Commit {result['commit'][:12]}, {result['date'][:10]}; {versions}."


def _spread(values: dict[str, float]) -> str:
    low, high = _number(values["min"]), _number(values["max"])
    return f"{_number(values['median'])} [{low}–{high}]"


def _number(value: float) -> str:
    """Three significant digits, and all digits before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def read_results(folder: Path = RESULTS) -> list[dict[str, Any]]:
    """Return the results in the folder, by file name; those without a kind are not for the page."""
    contents = (json.loads(path.read_text()) for path in sorted(folder.glob("*.json")))
    return [result for result in contents if isinstance(result, dict) and "kind" in result]


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(render(read_results()))
