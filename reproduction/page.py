"""`python -m reproduction.page` writes `docs/reproduction.md` and a plot of each result."""

from pathlib import Path

from matplotlib.figure import Figure

from alexnet_cli.paper.experiments import EXPERIMENTS, Experiment, find_experiment
from alexnet_cli.paper.plan import num_epochs_published
from alexnet_cli.paper.result import Result, read_result
from alexnet_cli.paper.tables import claim_table, describe_protocol, run_table
from alexnet_cli.report.drawing import draw, save_png, style
from alexnet_cli.report.page import experiment_panel

ROOT = Path(__file__).resolve().parents[1]
RESULTS, PAGE = ROOT / "reproduction" / "results", ROOT / "docs" / "reproduction.md"

_INTRODUCTION = """\
# The paper's experiments

Made by `python -m reproduction.page` from the files in `reproduction/results/`; do not edit. Each
file holds its command and, for each run, settings, seed, commit, versions, hardware and the log of
each epoch.

`alexnet reproduce NAME` repeats an experiment: it trains each network with several seeds, evaluates
the finished runs on the test set if a claim is about test errors, and compares the claims with the
result. Rerun the same command to continue after an interruption.

- **Interval**: 95 % of the mean over seeds, by Student's t. Differences and ratios are paired by
  seed: both networks of a seed share the train/validation split. The test images are the same in
  all runs.
- **Verdict**: *agrees* if all of the interval is among the numbers with which the claim holds,
  *differs* if none of it is, *not decided* if some of it is, if there is only one seed, or if a
  seed did not reach 25 % training error. A published error is of one run and rounded to a percent:
  within one point counts as equal. A claim that something lowers the error is about the direction
  alone; the published size is shown next to it.
- **Shortened**: fewer epochs than published, with the learning rate schedule shortened in
  proportion. Such a verdict is about the shorter training, not about the published one.

The remarks of each experiment list what the paper leaves open and what its released source shows;
see also [the paper and the code](paper.md).
"""


def render(results: list[tuple[str, Result]]) -> str:
    """Return the page of results, given with the names of their files."""
    done = {result.experiment for _, result in results}
    sections = [_section(name, result) for name, result in results]
    missing = [experiment for name, experiment in EXPERIMENTS.items() if name not in done]
    return "\n".join([_INTRODUCTION, *sections, *([_not_run(missing)] if missing else [])])


def _section(name: str, result: Result) -> str:
    experiment = find_experiment(result.experiment)
    how = describe_protocol(experiment, result)
    lines = [
        f"## {experiment.title}",
        "",
        f"`{experiment.name}`, from {experiment.source}; `{name}`. {how}.",
        "",
        f"![{_caption(result)}]({plot_name(name)})",
        "",
        *_table(*claim_table(experiment, result)),
        "",
        *(f"- {remark}" for remark in experiment.remarks),
        *([""] if experiment.remarks else []),
        *_table(*run_table(experiment, result)),
        "",
        "```sh",
        result.command,
        "```",
        "",
    ]
    return "\n".join(lines)


def _caption(result: Result) -> str:
    """Return the description of a plot, for readers who do not see it."""
    return experiment_panel(find_experiment(result.experiment), result)(Figure().subplots())


def _png(result: Result) -> bytes:
    """Return the plot of a result as the content of a PNG file."""
    with style():
        panel = experiment_panel(find_experiment(result.experiment), result)
        return save_png(draw(panel, width=6.4, height=3.4)[0])


def plot_name(result_name: str) -> str:
    """Return the file name of a plot, in the folder of the page."""
    return f"reproduction-{Path(result_name).stem}.png"


def _table(headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    lines = [headings, ("---",) * len(headings), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def _not_run(experiments: list[Experiment]) -> str:
    rows = [
        (
            f"`{each.name}`",
            each.title,
            ", ".join(f"{arm} {num_epochs_published(each, arm)}" for arm in each.arms),
        )
        for each in experiments
    ]
    return "\n".join(["## Not run yet", "", *_table(("name", "question", "epochs"), rows), ""])


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
