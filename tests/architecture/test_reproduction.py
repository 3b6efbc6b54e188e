"""The page of the paper's experiments says what their results say."""

import re

from alexnet_cli.paper.result import read_result, write_result
from reproduction import page
from tests.made_results import finished, result_of


def test_the_page_is_what_the_results_give():
    assert page.PAGE.read_text() == page.render(page.read_results()), (
        "run: python -m reproduction.page"
    )


def test_the_plots_of_the_page_are_there():
    named = {page.plot_name(name) for name, _ in page.read_results()}
    assert {path.name for path in page.PAGE.parent.glob("reproduction-*.png")} == named
    assert set(re.findall(r"\]\((\S+\.png)\)", page.PAGE.read_text())) == named


def test_committed_results_are_of_committed_code():
    for name, result in page.read_results():
        for run in result.all_runs:
            origin = run.provenance
            commits = [each for each in (origin.commit, origin.ended_with) if each]
            what = f"{name}: {run.arm}, seed {run.seed}: {commits}"
            assert [len(each) for each in commits] in ([40], [40, 40]), what
            assert result.protocol.data == "cifar10"


def test_a_result_has_its_claims_and_runs_on_the_page(tmp_path):
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
