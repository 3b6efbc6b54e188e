"""One HTML file that needs nothing else: no network, no script, no font from elsewhere.

Cells open by the browser's own popovers, so that there is no script that a hostile class name could
get into; the Content-Security-Policy forbids any.
"""

import base64
import hashlib
from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from alexnet_cli.errors import AlexnetError
from alexnet_cli.report import examine
from alexnet_cli.report.comparison import Comparison, compare
from alexnet_cli.report.experiment import ExperimentView
from alexnet_cli.report.facts import headline
from alexnet_cli.report.images import Sizes
from alexnet_cli.report.views import Examined, RunView, draw_figures, view_run

MOST_BYTES = 5_000_000
MOST_RUNS = 6
_PICTURES = ((96, 48, 700), (48, 24, 350))
"""Sides in pixels of pictures, and images behind cells in all; the second for what fills pages with
the first: the noise of six runs does not fill it."""


def render(runs: Sequence[Examined], experiments: Sequence[ExperimentView] = ()) -> bytes:
    """Return the page of one run, or of several side by side, and of experiments.

    Args:
        runs: At most `MOST_RUNS`.
        experiments: What was carried out of the paper's.

    Raises:
        AlexnetError: It would be larger than `MOST_BYTES` with the smallest pictures, too.
    """
    comparison = compare(runs) if len(runs) > 1 else None
    drawings = [draw_figures(run) for run in runs]
    for large_px, small_px, most_in_cells in _PICTURES:
        sizes = Sizes(large_px, small_px, most_in_cells // max(1, len(runs)))
        views = [view_run(run, drawn, sizes) for run, drawn in zip(runs, drawings, strict=True)]
        content = _fill(views, comparison, experiments)
        if len(content) <= MOST_BYTES:
            return content
    raise AlexnetError(
        f"the report would take {len(content):,} bytes, more than {MOST_BYTES:,}",
        hint="report fewer runs at once",
        code="report_too_large",
    )


def _fill(
    views: list[RunView], comparison: Comparison | None, experiments: Sequence[ExperimentView]
) -> bytes:
    """Fill the template."""
    environment = Environment(
        loader=PackageLoader("alexnet_cli.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    css = environment.get_template("report.css").render()
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    page = environment.get_template("page.html.j2").render(
        css=Markup(css),  # noqa: S704 - a file of this package
        policy=f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'",
        comparison=comparison,
        experiments=experiments,
        runs=views,
        headline=headline,
        examine=examine,
    )
    return page.encode("utf-8", "backslashreplace")
