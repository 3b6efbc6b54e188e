"""A report in Debian's Chromium, as people open it: from the disk, by mouse and by keyboard.

Needs `chromium` on the PATH, Playwright for Python and `npm install` in `tests/browser` (axe-core);
skips without them, unless `nox -s browser` runs it.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.browser.conftest import DESKTOP, PHONE, browser_marks
from tests.conftest import REAL_ARCHIVE_SHA256, TINY

_AXE = Path(__file__).with_name("node_modules") / "axe-core" / "axe.min.js"

pytestmark = browser_marks(_AXE, "no axe-core: npm install in tests/browser")


def _alexnet(folder, *arguments, **environment):
    result = subprocess.run(
        [sys.executable, "-m", "alexnet_cli", *map(str, arguments)],
        cwd=folder, capture_output=True, text=True, check=False, env={**os.environ, **environment},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return folder / result.stdout.strip()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    return _alexnet(folder, "train", *TINY, "--epochs", "2", "--no-plots")


@pytest.fixture(scope="module")
def one(run):
    return _alexnet(run.parents[1], "report", run)


@pytest.fixture(scope="module")
def two(run):
    other = shutil.copytree(run, run.with_name("other"))
    return _alexnet(run.parents[1], "report", run, other)


def _cell(page):
    """Return a number of the confusion matrix, and what it opens."""
    button = page.locator(".matrix button").nth(3)
    return button, page.locator(f"#{button.get_attribute('popovertarget')}")


def test_a_cell_opens_its_images_by_mouse(open_page, one):
    page = open_page(one.as_uri())
    button, images = _cell(page)
    assert images.is_hidden()
    button.click()
    assert images.is_visible()
    pictures = images.get_by_role("img")
    assert 1 <= pictures.count() <= min(12, int(button.text_content()))
    assert pictures.evaluate_all("all => all.every(each => each.naturalWidth > 0)")
    assert re.search(r"predicted as", images.text_content())
    images.get_by_role("button", name="Close").click()
    assert images.is_hidden()
    button.click()
    page.mouse.click(5, 5)  # beside it
    assert images.is_hidden()


def test_a_cell_opens_its_images_by_keyboard(open_page, one):
    page = open_page(one.as_uri())
    button, images = _cell(page)
    focused = "document.activeElement.getAttribute('popovertarget')"
    key = button.get_attribute("popovertarget")
    for opens, closes in (("Enter", "Escape"), ("Space", "Enter")):
        button.focus()
        page.keyboard.press(opens)
        assert images.is_visible()
        assert page.evaluate("document.activeElement.textContent") == "Close"
        page.keyboard.press(closes)
        assert images.is_hidden()
        assert page.evaluate(focused) == key
        assert page.evaluate("document.activeElement.className") == ""


def test_the_first_keys_reach_the_report_and_skip_the_table(open_page, one):
    page = open_page(one.as_uri())
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('href')") == "#main"
    page.locator(".skip-over").focus()
    assert page.locator(".skip-over").is_visible()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('.matrix')") is None


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
@pytest.mark.parametrize("name", ["one", "two"])
def test_it_fits_and_is_accessible(open_page, request, tmp_path, name, viewport, colours):
    path = request.getfixturevalue(name)
    page = open_page(path.as_uri(), viewport=viewport, color_scheme=colours, bypass_csp=True)
    page.screenshot(path=tmp_path / "page.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(254, 254, 254)" if colours == "light" else "rgb(20, 24, 29)")
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    page.evaluate(_AXE.read_text())
    for _ in range(2):  # as it is, and with a cell open
        violations = page.evaluate("axe.run({resultTypes: ['violations']})")["violations"]
        assert [(each["id"], each["nodes"][0]["html"]) for each in violations] == []
        _cell(page)[0].click()


def test_axe_finds_a_missing_description(open_page, one):
    page = open_page(one.as_uri(), bypass_csp=True)
    page.evaluate("document.querySelector('.cards img').removeAttribute('alt')")
    page.evaluate(_AXE.read_text())
    violations = page.evaluate("axe.run({resultTypes: ['violations']})")["violations"]
    assert [each["id"] for each in violations] == ["image-alt"]


def test_figures_have_the_colours_of_the_page(open_page, one):
    inks = []
    for colours in ("light", "dark"):
        page = open_page(one.as_uri(), color_scheme=colours)
        inks.append(page.locator(".drawing text").first.evaluate("t => getComputedStyle(t).fill"))
        lines = page.locator(".drawing path").evaluate_all(
            "all => [...new Set(all.map(each => getComputedStyle(each).stroke))]"
        )
        assert ("rgb(0, 114, 178)" in lines) == (colours == "light")
    assert inks == ["rgb(27, 27, 27)", "rgb(232, 234, 237)"]


def test_printed_pages_have_no_controls(open_page, one):
    page = open_page(one.as_uri(), color_scheme="light")
    page.emulate_media(media="print")
    assert page.locator(".images, .skip, .close").evaluate_all(
        "all => all.every(each => getComputedStyle(each).display === 'none')"
    )
    assert page.pdf().startswith(b"%PDF")


@pytest.mark.cifar10
def test_the_report_of_a_real_network(open_page, real_archive, tmp_path_factory):
    folder = tmp_path_factory.mktemp("real")
    home = {"ALEXNET_HOME": str(folder / "cache")}
    _alexnet(folder, "download", "--archive", real_archive, "--sha256", REAL_ARCHIVE_SHA256, **home)
    settings = ("--model", "cuda-convnet-80sec", "--epochs", "1", "--val-size", "1000")
    run = _alexnet(folder, "train", *settings, "--no-plots", **home)
    page = open_page(_alexnet(folder, "report", run, **home).as_uri())
    button, images = _cell(page)
    button.click()
    assert images.get_by_role("img").first.is_visible()
    page.screenshot(path=folder / "page.png", full_page=True)


@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_class_names_break_only_between_words(open_page, one, viewport):
    page = open_page(one.as_uri(), viewport=viewport)
    names = page.locator(".bars .name, .cards span, .neighbours span, .matrix th")
    broken = names.evaluate_all(
        """all => all.flatMap(each => {
          const text = each.firstChild;
          if (text?.nodeType !== Node.TEXT_NODE) return [];
          text.data = text.data.replace("hourglass", "extraordinary");  // wider than a picture
          return [...text.data.matchAll(/\\w+/g)].flatMap(word => {
            const range = document.createRange();
            range.setStart(text, word.index);
            range.setEnd(text, word.index + word[0].length);
            return range.getClientRects().length > 1 ? [word[0]] : [];
          });
        })"""
    )
    assert broken == []
