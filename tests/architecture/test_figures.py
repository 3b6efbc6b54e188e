"""Figures in README.md and on the pages are those of the result files."""

import json
import re
from pathlib import Path
from statistics import median

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


def _read(folder, name):
    return json.loads((folder / f"{name}.json").read_text())


def _missing(page, figures):
    """Return the figures that a page does not have."""
    text = " ".join((_ROOT / page).read_text(encoding="utf-8").split())
    return [figure for figure in figures if figure not in text]


def _percent(fraction):
    return f"{100 * fraction:.2f}"


def _interval(bounds):
    return " to ".join(map(_percent, bounds))


def _top1(record, key="top1"):
    return f"{_percent(record[key])} % ({_interval(record[f'{key}_interval'])})"


def _minutes(record):
    return f"{record['seconds'] / 60:.0f} min"


@pytest.fixture(scope="module")
def default_run():
    """The run of the default settings, and its row of each epoch."""
    result = _read(_REPRODUCTION, "cifar90")
    (run,) = result["runs"]
    return run, [dict(zip(result["log_columns"], row, strict=True)) for row in run["log"]]


@pytest.fixture(scope="module")
def timed_runs():
    """The run of each command whose time to an accuracy was measured."""
    results = (json.loads(path.read_text()) for path in _BENCHMARKS.glob("time_to_accuracy-*.json"))
    return {result["command"]: result["runs"][0] for result in results}


def _loop_row(name):
    """Return the images/s, seconds an epoch, plain loop and ratios of a training step."""
    figures = {
        figure["what"].split(",")[1].strip(): figure
        for figure in _read(_BENCHMARKS, name)["figures"]
        if figure["part"] == "train_step" and figure["peer"] == "plain loop"
    }
    own, theirs = figures["28 px"]["ours"]["median"], figures["28 px"]["theirs"]["median"]
    ratios = " / ".join(f"{figures[crop]['ratio']:.1f}×" for crop in ("28 px", "32 px"))
    return f"{own:.0f} | {_IMAGES_AN_EPOCH / own:.0f} s | {theirs:.0f} images/s | {ratios} |"


def test_the_results_table_of_the_readme(default_run, timed_runs):
    run, _ = default_run
    one_view, ten_views = run["tests"]
    rows = [f"| {_top1(one_view)} | {_top1(ten_views)} | {_minutes(run)}, Zen 5 |"]
    for model in ("alexnet-cifar", "alexnet-cifar-bn"):
        fast = timed_runs[f"alexnet train --model {model} --recipe fast"]
        rows.append(f"| {_top1(fast, 'test_top1')} | – | {_minutes(fast)}, Zen 4 |")
    assert _missing("README.md", rows) == []


def test_accuracies_of_the_page(default_run, timed_runs):
    run, log = default_run
    one_view, ten_views = run["tests"]
    best = max(log, key=lambda row: row["val_top1"])
    lowest = min(log, key=lambda row: row["val_loss"])
    gain = _read(_BENCHMARKS, "ten_views-default-run-amd-epyc-zen5-2cores")["ten_views_against_one"]
    stated = [
        f"| {_percent(best['val_top1'])} % | {_top1(one_view)} | {_top1(ten_views)} | "
        f"{_minutes(run)}, Zen 5 |",
        f"best epoch is {best['epoch']:.0f}",
        f"gain {_percent(gain['difference'])} points ({_interval(gain['difference_interval'])})",
        f"({lowest['val_loss']:.3f}) and rises from there to {best['val_loss']:.3f}",
        f"to {100 * best['train_top1']:.1f} %",
    ]
    stated += [
        f"| {_percent(other['val_top1'])} % | {_top1(other, 'test_top1')} | – | "
        f"{_minutes(other)}, Zen {4 if 'fast' in command else 5}"
        for command, other in timed_runs.items()
    ]
    assert len(stated) == 10
    assert _missing("docs/accuracy-and-time.md", stated) == []


def test_times_of_the_page(default_run):
    _, log = default_run
    rate = _IMAGES_AN_EPOCH / median(row["train_seconds"] for row in log)
    epoch = median(row["train_seconds"] + row["val_seconds"] for row in log)
    predict = _read(_BENCHMARKS, "predict-amd-epyc-avx512-bf16-2threads")
    stated = [
        f"Zen 5, AVX512-BF16 | bfloat16 | {rate:.0f} | {epoch:.0f} s |",
        "EPYC Zen 4, AVX512-BF16 | bfloat16 | "
        + _loop_row("train_step-amd-epyc-zen4-avx512-bf16-2threads"),
        "another Zen 4, AVX512-BF16 | bfloat16 | " + _loop_row("amd-epyc-avx512-bf16-2threads"),
        "Zen 4 limited to AVX2 | float32 | "
        + _loop_row("train_step-amd-epyc-zen4-limited-to-avx2-2threads"),
        "EPYC Zen 3, AVX2 | float32 | " + _loop_row("train_step-amd-epyc-zen3-avx2-2threads"),
    ]
    stated += [
        f"| {1000 * start['seconds']['median']:.0f} ms | "
        f"{1000 * start['base_seconds']['median']:.0f} ms | {start['ratio']:.1f} |"
        for start in predict["starts"]
    ]
    stated += [f"{100 * folder['share_of_the_slower']:.0f} %" for folder in predict["folders"]]
    assert _missing("docs/accuracy-and-time.md", stated) == []


def test_the_experiments_of_the_paper(default_run):
    run, _ = default_run
    one_view, ten_views = (_percent(1 - test["top1"]) for test in run["tests"])
    six_times = _read(_REPRODUCTION, "relu")["claims"][1]
    low, high = six_times["interval"]
    ladder = _read(_REPRODUCTION, "ladder")["claims"][0]
    interval = f"(95 %: {low:.2f} to {high:.2f}"
    relu = [f"{six_times['mean']:.2f}× faster", interval]
    others = [
        f"{interval}, five seeds",
        f"{_percent(ladder['mean'])} % test error ({_interval(ladder['interval'])}, three",
        f"{one_view} % test error with one view and {ten_views} % with ten",
    ]
    assert _missing("README.md", relu) == []
    assert _missing("docs/paper.md", relu + others) == []


def test_the_cost_of_a_save():
    saves = _read(_BENCHMARKS, "checkpoint-amd-epyc-avx512-bf16-2threads")["figures"][0]["ours"]
    low, high = f"{saves['min']:.2f}".replace("-", "−"), f"{saves['max']:.2f}"
    stated = [f"costs {saves['median']:.2f} s", f"({low} to {high} s"]
    assert _missing("docs/reliability.md", stated) == []


@pytest.mark.parametrize("page", _PAGES, ids=lambda path: path.name)
def test_every_percentage_of_two_decimals_was_measured(page):
    prose = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    found = re.findall(r"\b(\d+\.\d\d) ?%", prose)
    found += [
        bound for pair in re.findall(r"(\d\d\.\d\d) to (\d\d\.\d\d)", prose) for bound in pair
    ]
    assert sorted(set(found) - _measured_percentages() - _PUBLISHED) == []


def _measured_percentages():
    """Return every accuracy, error and bound of an interval in the result files."""
    paths = (path for folder in (_BENCHMARKS, _REPRODUCTION) for path in folder.glob("*.json"))
    fractions = [value for path in paths for value in _accuracies(json.loads(path.read_text()))]
    return {_percent(each) for value in fractions for each in (value, 1 - value)}


def _accuracies(value, name=""):
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
