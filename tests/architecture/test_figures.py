"""Figures in README.md and on the pages are those of the result files."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import pytest

_ROOT = Path(__file__).parents[2]
_BENCHMARKS, _REPRODUCTION = _ROOT / "benchmarks" / "results", _ROOT / "reproduction" / "results"
_MADE = {"benchmarks.md", "reproduction.md", "cli.md"}  # generated; other tests compare them
_PAGES = [
    _ROOT / "README.md",
    *(path for path in sorted((_ROOT / "docs").glob("*.md")) if path.name not in _MADE),
]
_PUBLISHED = {"81.76"}  # of other programs
_IMAGES_AN_EPOCH = 45_000


def _read(folder: Path, name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
    return content


def _text(name: str) -> str:
    path = _ROOT / name
    return " ".join(path.read_text(encoding="utf-8").split())


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.2f}"


def _interval(bounds: list[float]) -> str:
    return " to ".join(map(_percent, bounds))


def _top1(record: dict[str, Any], key: str = "top1") -> str:
    return f"{_percent(record[key])} % ({_interval(record[f'{key}_interval'])})"


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min"


def _log(result: dict[str, Any], run: dict[str, Any]) -> list[dict[str, float]]:
    return [dict(zip(result["log_columns"], row, strict=True)) for row in run["log"]]


def _time_to_accuracy() -> dict[str, dict[str, Any]]:
    results = (json.loads(path.read_text()) for path in _BENCHMARKS.glob("time_to_accuracy-*.json"))
    return {result["command"]: result["runs"][0] for result in results}


def _default_run() -> tuple[dict[str, Any], list[dict[str, float]]]:
    result = _read(_REPRODUCTION, "cifar90")
    (run,) = result["runs"]
    return run, _log(result, run)


def _loop_row(name: str) -> str:
    """Return the images/s, seconds an epoch, plain loop and ratios of a training step."""
    figures = {
        figure["what"].split(",")[1].strip(): figure
        for figure in _read(_BENCHMARKS, name)["figures"]
        if figure["part"] == "train_step" and figure["peer"] == "plain loop"
    }
    own, theirs = figures["28 px"]["ours"]["median"], figures["28 px"]["theirs"]["median"]
    ratios = " / ".join(f"{figures[crop]['ratio']:.1f}×" for crop in ("28 px", "32 px"))
    return f"{own:.0f} | {_IMAGES_AN_EPOCH / own:.0f} s | {theirs:.0f} images/s | {ratios} |"


def test_the_results_table_of_the_readme() -> None:
    run, _ = _default_run()
    one_view, ten_views = run["tests"]
    fast = _time_to_accuracy()
    rows = [f"| {_top1(one_view)} | {_top1(ten_views)} | {_minutes(run['seconds'])}, Zen 5 |"]
    rows += [
        f"| {_top1(of_model, 'test_top1')} | – | {_minutes(of_model['seconds'])}, Zen 4 |"
        for of_model in (
            fast["alexnet train --model alexnet-cifar --recipe fast"],
            fast["alexnet train --model alexnet-cifar-bn --recipe fast"],
        )
    ]
    assert [row for row in rows if row not in _text("README.md")] == []


def test_accuracies_of_the_page() -> None:
    run, log = _default_run()
    one_view, ten_views = run["tests"]
    best = max(log, key=lambda row: row["val_top1"])
    lowest = min(log, key=lambda row: row["val_loss"])
    gain = _read(_BENCHMARKS, "ten_views-default-run-amd-epyc-zen5-2cores")["ten_views_against_one"]
    stated = [
        f"| {_percent(best['val_top1'])} % | {_top1(one_view)} | {_top1(ten_views)} | "
        f"{_minutes(run['seconds'])}, Zen 5 |",
        f"best epoch is {best['epoch']:.0f}",
        f"gain {_percent(gain['difference'])} points ({_interval(gain['difference_interval'])})",
        f"({lowest['val_loss']:.3f}) and rises from there to {best['val_loss']:.3f}",
        f"to {100 * best['train_top1']:.1f} %",
    ]
    stated += [
        f"| {_percent(other['val_top1'])} % | {_top1(other, 'test_top1')} | – | "
        f"{_minutes(other['seconds'])}, Zen {4 if 'fast' in command else 5}"
        for command, other in _time_to_accuracy().items()
    ]
    assert len(stated) == 10
    assert [words for words in stated if words not in _text("docs/accuracy-and-time.md")] == []


def test_times_of_the_page() -> None:
    _, log = _default_run()
    rate = _IMAGES_AN_EPOCH / median(row["train_seconds"] for row in log)
    epoch = median(row["train_seconds"] + row["val_seconds"] for row in log)
    predict = _read(_BENCHMARKS, "predict-amd-epyc-avx512-bf16-2threads")
    page = _text("docs/accuracy-and-time.md")
    stated = [
        f"Zen 5, AVX512-BF16 | bfloat16 | {rate:.0f} | {epoch:.0f} s |",
        "EPYC Zen 4, AVX512-BF16 | bfloat16 | "
        + _loop_row("train_step-amd-epyc-zen4-avx512-bf16-2threads"),
        "another Zen 4, AVX512-BF16 | bfloat16 | " + _loop_row("amd-epyc-avx512-bf16-2threads"),
        "Zen 4 limited to AVX2 | float32 | "
        + _loop_row("train_step-amd-epyc-zen4-limited-to-avx2-2threads"),
    ]
    stated += [
        f"| {1000 * start['seconds']['median']:.0f} ms | "
        f"{1000 * start['base_seconds']['median']:.0f} ms | {start['ratio']:.1f} |"
        for start in predict["starts"]
    ]
    stated += [f"{100 * folder['share_of_the_slower']:.0f} %" for folder in predict["folders"]]
    assert [words for words in stated if words not in page] == []


def test_the_experiments_of_the_paper() -> None:
    run, _ = _default_run()
    one_view, ten_views = (_percent(1 - test["top1"]) for test in run["tests"])
    six_times = _read(_REPRODUCTION, "relu")["claims"][1]
    low, high = six_times["interval"]
    ladder = _read(_REPRODUCTION, "ladder")["claims"][0]
    faster = f"{six_times['mean']:.2f}× faster"
    interval = f"(95 %: {low:.2f} to {high:.2f}"
    stated = {
        "docs/paper.md": [
            faster,
            f"{interval}, five seeds",
            f"{_percent(ladder['mean'])} % test error ({_interval(ladder['interval'])}, three",
            f"{one_view} % test error with one view and {ten_views} % with ten",
        ],
        "README.md": [faster, interval],
    }
    for page, figures in stated.items():
        assert [words for words in figures if words not in _text(page)] == [], page


def test_the_cost_of_a_save() -> None:
    saves = _read(_BENCHMARKS, "checkpoint-amd-epyc-avx512-bf16-2threads")["figures"][0]["ours"]
    low, high = f"{saves['min']:.2f}".replace("-", "−"), f"{saves['max']:.2f}"
    page = _text("docs/reliability.md")
    assert f"costs {saves['median']:.2f} s" in page
    assert f"({low} to {high} s" in page


@pytest.mark.parametrize("page", _PAGES, ids=lambda path: path.name)
def test_every_percentage_of_two_decimals_was_measured(page: Path) -> None:
    prose = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    found = re.findall(r"\b(\d+\.\d\d) ?%", prose)
    found += [
        bound for pair in re.findall(r"(\d\d\.\d\d) to (\d\d\.\d\d)", prose) for bound in pair
    ]
    assert sorted(set(found) - _measured_percentages() - _PUBLISHED) == []


def _measured_percentages() -> set[str]:
    fractions = [value for folder in (_BENCHMARKS, _REPRODUCTION) for value in _fractions(folder)]
    return {_percent(value) for value in fractions} | {_percent(1 - value) for value in fractions}


def _fractions(folder: Path) -> Iterator[float]:
    """Yield every accuracy, error and bound of an interval in the result files of a folder."""
    for path in folder.glob("*.json"):
        yield from _accuracies(json.loads(path.read_text()))


def _accuracies(value: Any, name: str = "") -> Iterator[float]:
    if isinstance(value, dict):
        columns = value.get("log_columns", ())
        for key, inner in value.items():
            yield from _accuracies(inner, key)
        for run in value.get("runs", [value]) if columns else ():
            yield from (row[columns.index("val_top1")] for row in run.get("log", ()))
    elif isinstance(value, list):
        for inner in value:
            yield from _accuracies(inner, name)
    elif isinstance(value, float) and ("top1" in name or name in ("interval", "mean")):
        yield value
