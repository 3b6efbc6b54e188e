"""From the results to the page: `python -m reproduction.page` writes `docs/reproduction.md`.

Beside it lies a plot of each result.
"""

from pathlib import Path

from matplotlib.figure import Figure

from alexnet_cli.paper.experiments import EXPERIMENTS, Experiment, find_experiment
from alexnet_cli.paper.plan import num_epochs_published
from alexnet_cli.paper.result import Result
from alexnet_cli.paper.result_file import read_result
from alexnet_cli.paper.tables import HEADINGS, claim_rows, how, run_headings, run_rows
from alexnet_cli.report.drawing import draw, save_png, style
from alexnet_cli.report.experiment import experiment_panel

ROOT = Path(__file__).resolve().parents[1]
RESULTS, PAGE = ROOT / "reproduction" / "results", ROOT / "docs" / "reproduction.md"

_INTRODUCTION = """\
# The paper's experiments

Made by `python -m reproduction.page` from the files in `reproduction/results/`; do not edit. Each
file holds its command and, run by run, settings, seed, commit, versions, hardware and the log of
each epoch.

`alexnet reproduce NAME` repeats an experiment: it trains each network with several seeds, measures
the finished runs on the test set where a claim is about test errors, and holds the claims against
what came out. Stopped, it goes on with the same command.

- **Interval**: 95 % of the mean over seeds, by Student's t; of a difference or a ratio, over the
  pairs of one seed, which share the images held out. The test images are the same in all.
- **Verdict**: *agrees* where the whole interval is among the numbers with which the claim holds,
  *differs* where none of it is, *not decided* where a part is, where there is one seed, or where a
  seed never got to what is counted. A published error counts as met within one point: it is of one
  run and rounded to a percent. That something lowers the error is about the direction alone; the
  published size stands beside it.
- **Shortened**: fewer epochs than published, and in proportion those at which the rate drops or for
  which it waits. Such a verdict is about the shorter training, not about the published one.

What the paper leaves unsaid and the source reveals is in the remarks of each experiment, and in
[the paper and the code](paper.md).
"""


def render(results: list[tuple[str, Result]]) -> str:
    """Return the page.

    Args:
        results: With the names of their files.
    """
    done = {result.experiment for _, result in results}
    sections = [_section(name, result) for name, result in results]
    left = [experiment for name, experiment in EXPERIMENTS.items() if name not in done]
    return "\n".join([_INTRODUCTION, *sections, *([_not_done(left)] if left else [])])


def _section(name: str, result: Result) -> str:
    experiment = find_experiment(result.experiment)
    lines = [
        f"## {experiment.title}",
        "",
        f"`{experiment.name}`, from {experiment.source}; `{name}`. {how(experiment, result)}.",
        "",
        f"![{_words(result)}]({plot_name(name)})",
        "",
        *_table(HEADINGS, claim_rows(experiment, result)),
        "",
        *(f"- {remark}" for remark in experiment.remarks),
        *([""] if experiment.remarks else []),
        *_table(run_headings(experiment), run_rows(experiment, result)),
        "",
        "```sh",
        result.command,
        "```",
        "",
    ]
    return "\n".join(lines)


def _words(result: Result) -> str:
    """Return what the plot of a result shows."""
    return experiment_panel(find_experiment(result.experiment), result)(Figure().subplots())


def _png(result: Result) -> bytes:
    """Return the plot of a result as the content of a PNG file."""
    with style():
        panel = experiment_panel(find_experiment(result.experiment), result)
        return save_png(draw(panel, width=6.4, height=3.4)[0])


def plot_name(result_name: str) -> str:
    """Return the name of a plot's file, beside the page."""
    return f"reproduction-{Path(result_name).stem}.png"


def _table(headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    lines = [headings, ("---",) * len(headings), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def _not_done(experiments: list[Experiment]) -> str:
    rows = [
        (
            f"`{each.name}`",
            each.title,
            ", ".join(f"{arm.name} {num_epochs_published(each, arm)}" for arm in each.arms),
        )
        for each in experiments
    ]
    return "\n".join(
        ["## Not carried out yet", "", *_table(("name", "question", "epochs"), rows), ""]
    )


def read_results() -> list[tuple[str, Result]]:
    """Read the committed results, in the order of the experiments."""
    order = list(EXPERIMENTS)
    found = [(path.name, read_result(path)) for path in sorted(RESULTS.glob("*.json"))]
    return sorted(found, key=lambda each: order.index(each[1].experiment))


if __name__ == "__main__":
    all_results = read_results()
    PAGE.write_text(render(all_results))
    for file_name, each in all_results:
        PAGE.with_name(plot_name(file_name)).write_bytes(_png(each))
