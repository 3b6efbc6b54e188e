"""How figures look, and their two ways out: a PNG file, and SVG inside the page.

Each colour stands for a role. A PNG file has it as it is; in the page it becomes a CSS variable, so
that the same figure suits a light and a dark page.
"""

import contextlib
import io
import itertools
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import matplotlib as mpl
from markupsafe import Markup
from matplotlib import font_manager, ft2font
from matplotlib.axes import Axes
from matplotlib.figure import Figure

PAPER, INK, FAINT = "#fefefe", "#1b1b1b", "#8c8c8d"
# Okabe, Ito 2008, "Color Universal Design": told apart with any kind of colour vision.
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1)), (0, (8, 3)))
MARKERS = ("o", "s", "^", "D", "v", "P")
_ROLES = {
    PAPER: "var(--paper)",
    INK: "currentColor",
    FAINT: "var(--faint)",
    **{colour: f"var(--series-{number})" for number, colour in enumerate(SERIES, start=1)},
}
_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_MOST_LETTERS = 24  # of a class's name beside a plot

Panel: TypeAlias = Callable[[Axes], str]
"""Draws into axes and returns what they show, in words, for those who do not see them."""


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Draw in one way, whatever the user's own settings of matplotlib are."""
    settings: dict[Any, Any] = {
        "text.parse_math": False,  # class names may hold dollar signs
        "svg.fonttype": "none",
        "svg.hashsalt": "alexnet",  # the same ids each time
        "axes.edgecolor": FAINT, "axes.labelcolor": INK, "axes.titlecolor": INK,
        "axes.spines.top": False, "axes.spines.right": False,
        "axes.facecolor": PAPER, "figure.facecolor": PAPER, "legend.facecolor": PAPER,
        "grid.color": FAINT, "grid.alpha": 0.3, "text.color": INK,
        "xtick.color": INK, "ytick.color": INK, "axes.axisbelow": True,
        "axes.titlesize": 10, "axes.labelsize": 9, "xtick.labelsize": 8, "ytick.labelsize": 8,
        "legend.fontsize": 8, "font.size": 9, "lines.linewidth": 1.6, "lines.markersize": 4,
        "legend.frameon": False, "savefig.dpi": 150,
    }  # fmt: skip
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(settings)
        yield


def draw(panel: Panel, *, width: float = 4.2, height: float = 2.7) -> tuple[Figure, str]:
    """Return a figure of one panel, sizes in inches, and what it shows in words."""
    figure = Figure(figsize=(width, height), layout="constrained")
    words = panel(figure.subplots())
    return figure, words


def save_png(figure: Figure) -> bytes:
    """Return a figure as the content of a PNG file."""
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def to_svg(figure: Figure, *, name: str, words: str) -> Markup:
    """Return a figure as an SVG element that stands by itself in an HTML page.

    What matplotlib writes as CSS becomes attributes, which the page's Content-Security-Policy
    allows, and its ids become unique in the page.

    Args:
        figure: The figure.
        name: Unique in the page.
        words: What it shows.
    """
    file = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(file, format="svg", metadata=nothing)
    root = ET.fromstring(file.getvalue())  # noqa: S314 - matplotlib wrote it
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{_SVG}}}style", f"{{{_SVG}}}metadata"):
                parent.remove(child)
    used = set(re.findall(r'(?:url\(|href=")#([\w.-]+)', file.getvalue()))
    for element in root.iter():
        _adapt(element, name=name, used=used)
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    root.attrib.update({"role": "img", "aria-label": words, "stroke-linejoin": "round"})
    ET.register_namespace("", _SVG)
    return Markup(ET.tostring(root, encoding="unicode"))  # noqa: S704 - escaped by ElementTree


def _adapt(element: ET.Element, *, name: str, used: set[str]) -> None:
    for rule in element.attrib.pop("style", "").split(";"):
        key, _, value = rule.partition(":")
        if key.strip() == "font-family":
            value = "sans-serif"
        if value:
            element.set(key.strip(), _ROLES.get(value.strip(), value.strip()))
    if element.get("id") not in used:
        element.attrib.pop("id", None)
    else:
        element.set("id", f"{name}-{element.get('id')}")
    link = element.attrib.pop(f"{{{_XLINK}}}href", None)
    if link is not None:
        element.set("href", f"#{name}-{link[1:]}" if link.startswith("#") else link)
    clip = element.get("clip-path")
    if clip is not None:
        element.set("clip-path", clip.replace("url(#", f"url(#{name}-"))


def labelled(names: tuple[str, ...]) -> list[str]:
    """Return class names as they fit beside a plot: short, and in letters that its font has."""
    font = ft2font.FT2Font(font_manager.findfont("DejaVu Sans"))
    return [
        shortened(name, _MOST_LETTERS)
        if all(font.get_char_index(ord(letter)) for letter in name)
        else f"class {number}"
        for number, name in enumerate(names)
    ]


def shortened(text: str, most: int) -> str:
    """Shorten a text in its middle: names often differ at their ends."""
    kept = most - 1
    return text if len(text) <= most else f"{text[: (kept + 1) // 2]}…{text[-(kept // 2) :]}"


def line_styles() -> Iterator[dict[str, Any]]:
    """Return how to draw lines that differ in colour, in dash and in marker."""
    return itertools.cycle(
        {"color": colour, "linestyle": dash, "marker": marker}
        for colour, dash, marker in zip(SERIES, DASHES, MARKERS, strict=True)
    )
