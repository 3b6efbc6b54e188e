import re
import xml.etree.ElementTree as ET

import matplotlib as mpl
import pytest

from alexnet_cli.report.drawing import SERIES, draw, plot_labels, save_png, shorten, style, to_svg


def panel(axes):
    axes.plot([1, 2], [3, 4], color=SERIES[0], marker="o", label='<script>&"')
    axes.imshow([[0, 1], [2, 3]], extent=(1, 2, 3, 4))
    axes.legend()
    axes.set_title("$x^{$")  # would not be valid mathematics
    return "a line & an <image>"


def drawn(name="one"):
    with style():
        figure, description = draw(panel)
        return save_png(figure), str(to_svg(figure, description, name=name))


def ids_of(svg):
    return re.findall(r' id="([^"]+)"', svg)


def test_the_svg_has_no_style_and_no_script():
    root = ET.fromstring(drawn()[1])  # noqa: S314 - our own
    tags = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert tags.isdisjoint({"style", "script", "metadata"})
    assert not any("style" in element.attrib for element in root.iter())
    assert root.attrib["aria-label"] == "a line & an <image>"
    texts = {element.text for element in root.iter() if element.tag.endswith("}text")}
    assert {'<script>&"', "$x^{$"} <= texts


def test_ids_are_unique_in_a_page_and_all_are_used():
    one, two = drawn("one")[1], drawn("two")[1]
    ids = [*ids_of(one), *ids_of(two)]
    assert len(ids) == len(set(ids)) > 0
    used = re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', one)
    assert {a or b for a, b in used} == set(ids_of(one))


def test_colours_follow_the_page():
    svg = drawn()[1]
    assert "var(--series-1)" in svg
    assert "currentColor" in svg
    assert re.findall(r'(?:fill|stroke)="#\w+"', svg) == []


def test_figures_do_not_depend_on_the_user_s_settings(monkeypatch):
    first = drawn()
    monkeypatch.setitem(mpl.rcParams, "font.size", 30)
    assert drawn() == first


@pytest.mark.parametrize(
    ("name", "label"),
    [("cat", "cat"), ("bär", "bär"), ("犬", "class 0"), ("a" * 40, "a" * 12 + "…" + "a" * 11)],
)
def test_labels_are_short_and_in_letters_of_the_font(name, label):
    assert plot_labels((name,)) == [label]


@pytest.mark.parametrize("length", [1, 2, 9, 10, 11, 60])
def test_a_shortened_text_keeps_its_ends(length):
    text = "".join(chr(97 + place % 26) for place in range(length))
    short = shorten(text, 10)
    assert len(short) == min(length, 10)
    assert (short[0], short[-1]) == (text[0], text[-1])
