"""Several runs side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from alexnet_cli.report.curves import best_of, compared_panels
from alexnet_cli.report.drawing import draw, style, to_svg
from alexnet_cli.report.facts import duration
from alexnet_cli.report.views import Drawing, Examined


@dataclass(frozen=True)
class Setting:
    """A setting that differs, with its value in each run."""

    name: str
    values: list[str]


@dataclass(frozen=True)
class RunRow:
    """A run in the table of results."""

    label: str
    key: str
    name: str
    cells: list[str]


@dataclass(frozen=True)
class Comparison:
    """What to show of several runs together.

    Attributes:
        have_same_images: Whether all were validated on the same images.
    """

    rows: list[RunRow]
    curves: list[Drawing]
    settings: list[Setting]
    environment: list[Setting]
    have_same_images: bool


def compare(runs: Sequence[Examined]) -> Comparison:
    """Lay runs side by side."""
    histories = {run.label: run.record.history for run in runs}
    curves = []
    with style():
        for name, panel in compared_panels(histories).items():
            figure, words = draw(panel)
            svg = to_svg(figure, name=f"all-{name}", words=words)
            curves.append(Drawing(svg, words))
    images = {
        (run.record.manifest.provenance.data, run.record.manifest.provenance.images) for run in runs
    }
    return Comparison(
        [RunRow(run.label, run.key, run.record.name, _cells(run)) for run in runs],
        curves,
        _differing([run.record.best.config for run in runs]),
        _differing([run.record.best.environment for run in runs]),
        len(images) == 1,
    )


def _cells(run: Examined) -> list[str]:
    summary, history = run.examination.summary, run.record.history
    low, high = summary.top1_interval
    return [
        run.record.manifest.network.name,
        run.record.manifest.provenance.data,
        f"{summary.top1:.2%} ({low:.2%} to {high:.2%})",
        f"{best_of(history).epoch} of {len(history)}",
        duration(run.record.seconds),
        f"{history[-1].images_per_second:,.0f}",
    ]


def _differing(documents: list[dict[str, Any]]) -> list[Setting]:
    """Return what is not the same in all, in the order of the first."""
    names = dict.fromkeys(name for document in documents for name in document)
    rows = [Setting(name, [str(each.get(name, "–")) for each in documents]) for name in names]
    return [row for row in rows if len(set(row.values)) > 1]
