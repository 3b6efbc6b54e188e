"""The page of the paper's experiments says what their results say."""

import json
import re
from pathlib import Path
from typing import Any

from alexnet_cli.paper.result import LOG_COLUMNS, read_result, write_result
from reproduction import page
from tests.made_results import finished, result_of


def test_the_page_is_what_the_results_give() -> None:
    assert page.PAGE.read_text() == page.render(page.read_results()), (
        "run: python -m reproduction.page"
    )


def test_the_plots_of_the_page_are_there() -> None:
    named = {page.plot_name(name) for name, _ in page.read_results()}
    assert {path.name for path in page.PAGE.parent.glob("reproduction-*.png")} == named
    assert set(re.findall(r"\]\((\S+\.png)\)", page.PAGE.read_text())) == named


def test_committed_results_are_of_committed_code() -> None:
    for name, result in page.read_results():
        for run in result.all_runs:
            origin = run.provenance
            commits = [each for each in (origin.commit, origin.ended_with) if each]
            what = f"{name}: {run.arm}, seed {run.seed}: {commits}"
            assert [len(each) for each in commits] in ([40], [40, 40]), what
            assert result.protocol.data == "cifar10"


def test_the_readme_has_the_figures_of_the_results() -> None:
    """What README.md says of `cifar90`, `relu` and `ladder` is what their files say."""
    readme = " ".join((page.ROOT / "README.md").read_text().split())
    (run,) = _content("cifar90")["runs"]
    one_view, ten_views = run["tests"]
    best_val_top1 = max(dict(zip(LOG_COLUMNS, row, strict=True))["val_top1"] for row in run["log"])
    _, six_times = _content("relu")["claims"]
    low, high = six_times["interval"]
    errs_on_26 = _content("ladder")["claims"][0]
    stated = [
        f"{100 * best_val_top1:.2f} % on the validation images",
        f"{100 * one_view['top1']:.2f} % with one view (95 %: {_bounds(one_view)})",
        f"{100 * ten_views['top1']:.2f} % with ten ({_bounds(ten_views)})",
        f"errs on {100 - 100 * one_view['top1']:.1f} % of the test images with one view",
        f"on {100 - 100 * ten_views['top1']:.1f} % with ten",
        f"came {six_times['mean']:.2f} times",
        f"(95 %: {low:.2f} to {high:.2f}, five seeds",
        f"errs on {100 * errs_on_26['mean']:.2f} % of the test images",
        f"({_bounds(errs_on_26, 'interval')}, three seeds)",
    ]
    assert [words for words in stated if words not in readme] == []


def _content(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((page.RESULTS / f"{name}.json").read_text())
    return content


def _bounds(record: dict[str, Any], key: str = "top1_interval") -> str:
    low, high = record[key]
    return f"{100 * low:.2f} to {100 * high:.2f}"


def test_a_result_has_its_claims_and_runs_on_the_page(tmp_path: Path) -> None:
    runs = tuple(finished("13pct", seed, error=0.125 + seed / 1000, views=10) for seed in (1, 2, 3))
    path = tmp_path / "lrn.json"
    write_result(path, result_of("lrn", runs, max_epochs=24))
    text = page.render([("lrn.json", read_result(path))])
    line = "| 13pct has 13 % test error | 13 % | 12.70% ± 0.10% | 12.45% to 12.95% | 3 |"
    assert f"{line} agrees, shortened |" in text
    assert text.count("| 13pct | ") == 3
    assert (
        "| LRN lowers the error of 13pct | 2 points | – | – | 0 | not decided, shortened |" in text
    )
    assert "## Not run yet" in text
