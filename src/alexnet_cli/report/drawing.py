"""The style of figures, and their two outputs: PNG files and SVG inside the page.

Each colour has a role. In PNG files it is used as it is; in the page it becomes a CSS variable, so
that a figure suits light and dark pages.
"""

import contextlib
import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import matplotlib as mpl
from markupsafe import Markup
from matplotlib import font_manager, ft2font
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

PAPER, INK, FAINT = "#fefefe", "#1b1b1b", "#8c8c8d"
# Okabe, Ito 2008, "Color Universal Design": distinct with any kind of colour vision.
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1)), (0, (8, 3)))
_ROLES = {
    PAPER: "var(--paper)",
    INK: "currentColor",
    FAINT: "var(--faint)",
    **{colour: f"var(--series-{number})" for number, colour in enumerate(SERIES, start=1)},
}
_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_MAX_LABEL_LENGTH = 24  # of a class name next to a plot

Panel: TypeAlias = Callable[[Axes], str]
"""A function that draws into axes and describes the figure for readers who do not see it."""


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Draw in this project's style, whatever the user's settings of matplotlib are."""
    settings: dict[Any, Any] = {
        "text.parse_math": False,  # class names may have dollar signs
        "svg.fonttype": "none",
        "axes.edgecolor": FAINT, "axes.labelcolor": INK, "axes.titlecolor": INK,
        "axes.spines.top": False, "axes.spines.right": False,
        "axes.facecolor": PAPER, "figure.facecolor": PAPER, "legend.facecolor": PAPER,
        "grid.color": FAINT, "grid.alpha": 0.3, "text.color": INK,
        "xtick.color": INK, "ytick.color": INK, "axes.axisbelow": True,
        "axes.titlelocation": "left", "axes.titlesize": 10, "axes.labelsize": 9,
        "xtick.labelsize": 8, "ytick.labelsize": 8, "legend.fontsize": 8, "font.size": 9,
        "lines.linewidth": 1.6, "lines.markersize": 4, "legend.frameon": False, "savefig.dpi": 150,
    }  # fmt: skip
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(settings)
        yield


def draw(panel: Panel, *, width: float = 4.2, height: float = 2.7) -> tuple[Figure, str]:
    """Return a figure of one panel, with sizes in inches, and its description."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, panel(figure.subplots())


def draw_curves(panel: Panel) -> tuple[Figure, str]:
    """Return a figure of curves; its margins are those of the others, so that their axes align."""
    figure = Figure(figsize=(4.2, 2.7))
    figure.subplots_adjust(left=0.14, right=0.97, bottom=0.17, top=0.9)
    return figure, panel(figure.subplots())


def label_epochs(axes: Axes, title: str, *, percent: bool = False) -> None:
    """Give a plot by epoch its title, axes and grid."""
    axes.set_title(title)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(visible=True)
    if percent:
        axes.yaxis.set_major_formatter(PercentFormatter(1))


def save_png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def to_svg(figure: Figure, description: str, *, name: str) -> Markup:
    """Return a figure as an SVG element for an HTML page.

    The page's Content-Security-Policy forbids inline CSS, so CSS is converted to attributes.

    `description` is for readers who do not see the figure. All ids derive from `name`, which is
    unique in the page.
    """
    file = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        no_metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(file, format="svg", metadata=no_metadata)
    root = ET.fromstring(file.getvalue())  # noqa: S314 - matplotlib wrote it
    used_ids = set(re.findall(r'(?:url\(|href=")#([\w.-]+)', file.getvalue()))
    for element in list(root.iter()):
        for child in list(element):
            if child.tag in (f"{{{_SVG}}}style", f"{{{_SVG}}}metadata"):
                element.remove(child)
        _style_to_attributes(element)
        if element.get("id") not in used_ids:  # such as axes_1, the same in each figure
            element.attrib.pop("id", None)
        if link := element.attrib.pop(f"{{{_XLINK}}}href", None):
            element.set("href", link)
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    root.attrib.update({"role": "img", "aria-label": description, "stroke-linejoin": "round"})
    ET.register_namespace("", _SVG)
    return Markup(ET.tostring(root, encoding="unicode"))  # noqa: S704 - escaped by ElementTree


def _style_to_attributes(element: ET.Element) -> None:
    for rule in element.attrib.pop("style", "").split(";"):
        key, _, value = (part.strip() for part in rule.partition(":"))
        if value:
            own_font = key == "font-family"
            element.set(key, "sans-serif" if own_font else _ROLES.get(value, value))


def plot_labels(names: tuple[str, ...]) -> list[str]:
    """Return class names for a plot: short, or numbered if the font lacks a letter of them."""
    font = ft2font.FT2Font(font_manager.findfont("DejaVu Sans"))
    return [
        shorten(name, _MAX_LABEL_LENGTH)
        if all(font.get_char_index(ord(letter)) for letter in name)
        else f"class {number}"
        for number, name in enumerate(names)
    ]


def shorten(text: str, max_length: int) -> str:
    """Shorten a text in the middle, because names often differ at their ends."""
    kept = max_length - 1
    is_short = len(text) <= max_length
    return text if is_short else f"{text[: (kept + 1) // 2]}…{text[-(kept // 2) :]}"
