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
from alexnet_cli.report import examine, images
from alexnet_cli.report.comparison import compare
from alexnet_cli.report.facts import headline
from alexnet_cli.report.views import Examined, view_run

MOST_BYTES = 5_000_000
MOST_RUNS = 8


def render(runs: Sequence[Examined]) -> bytes:
    """Return the page of one run, or of several side by side.

    Args:
        runs: One to `MOST_RUNS`.

    Raises:
        AlexnetError: It would be larger than `MOST_BYTES`.
    """
    environment = Environment(
        loader=PackageLoader("alexnet_cli.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    css = environment.get_template("report.css").render()
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    most_in_cells = images.MOST_IN_CELLS // len(runs)
    page = environment.get_template("page.html.j2").render(
        css=Markup(css),  # noqa: S704 - a file of this package
        policy=f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'",
        comparison=compare(runs) if len(runs) > 1 else None,
        runs=[view_run(run, most_in_cells=most_in_cells) for run in runs],
        headline=headline,
        examine=examine,
    )
    content = page.encode("utf-8", "backslashreplace")
    if len(content) > MOST_BYTES:
        raise AlexnetError(
            f"the report would take {len(content):,} bytes, more than {MOST_BYTES:,}",
            hint="report fewer runs at once",
            code="report_too_large",
        )
    return content
