"""README.md and the pages: their Python runs, their commands exist, their links lead somewhere."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.cli_page import parse
from tests.integration.conftest import RUN

_ROOT = Path(__file__).parents[2]
_PAGES = [_ROOT / "README.md", _ROOT / "CONTRIBUTING.md", *sorted((_ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(r"^```(sh|text|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_QUICK = (
    "alexnet doctor",
    "alexnet explain alexnet",
    "alexnet models --json",
    "alexnet reproduce --list",
)


def blocks(page, language):
    return [block for name, block in _BLOCK.findall(page.read_text("utf-8")) if name == language]


def commands(page):
    """Return the command lines of `alexnet` in a page's shell blocks, as lists of words."""
    found = []
    for line in "".join(blocks(page, "sh")).replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        for pipe_end in ("|", ">", "<", "&&"):
            if pipe_end in words:
                parts = words.index(pipe_end)
                words = words[parts + 1 :] if "alexnet" in words[parts:] else words[:parts]
        if words[:1] == ["alexnet"]:
            found.append(words[1:])
        elif "alexnet_cli" in words:  # torchrun -m alexnet_cli
            found.append(words[words.index("alexnet_cli") + 1 :])
    return found


@pytest.mark.parametrize("page", _PAGES, ids=lambda path: path.name)
def test_the_commands_of_a_page_exist(page):
    for words in commands(page):
        parse(words)


def test_commands_are_found_and_wrong_ones_are_refused(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```sh\nalexnet train --lr 0.1 \\\n  --resume | cat\nls\n```\n")
    assert commands(page) == [["train", "--lr", "0.1", "--resume"]]
    with pytest.raises(Exception, match="no-such-command"):
        parse(["no-such-command"])
    assert sum(len(commands(page)) for page in _PAGES) > 60


def test_quick_commands_of_the_pages_run(alexnet):
    shown = [shlex.join(["alexnet", *words]) for page in _PAGES for words in commands(page)]
    for line in _QUICK:
        assert line in shown
        done = alexnet(*line.split()[1:])
        assert done.returncode == 0 or line == "alexnet doctor", done.stderr
        assert len(done.stdout) > 100


@pytest.fixture
def run_python(work, capfd):
    """Run the one Python block of a page beside a run; return what it prints."""

    def run(page):
        (block,) = blocks(_ROOT / page, "python")
        block = block.replace("alexnet-cifar-cifar10", RUN.name)
        capfd.readouterr()
        exec(block.replace("img.png", "0.png"), {})  # noqa: S102 - as a reader would
        return capfd.readouterr().out

    return run


def test_the_python_lines_of_the_readme_answer_as_predict_does(run_python, json_of):
    name, probability = re.fullmatch(r"(\w+) (0\.\d+)\n", run_python("README.md")).groups()
    answer = json_of("predict", "0.png")
    assert name == answer["class"]
    assert float(probability) == pytest.approx(answer["probability"], abs=1e-6)


def test_the_python_lines_of_the_page_on_prediction_run(run_python):
    printed = run_python("docs/prediction.md")
    assert re.match(r"\w+ExecutionProvider\n0\.png \w+ 0\.\d+\n", printed)


@pytest.mark.parametrize("page", _PAGES, ids=lambda path: path.name)
def test_the_links_of_a_page_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)\s]+)\)|(?:src|srcset)=\"([^\"]+)\"", page.read_text("utf-8"))
    for target in filter(None, (one or other for one, other in targets)):
        path, _, anchor = target.partition("#")
        if "://" in path:
            continue
        there = (page.parent / path) if path else page
        assert there.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.*)$", there.read_text("utf-8"), re.MULTILINE)
            slugs = [re.sub(r"[^\w\s-]", "", title).strip().lower() for title in titles]
            assert anchor in [re.sub(r"[-\s]+", "-", slug) for slug in slugs], target


def test_the_picture_of_the_terminal_loads_nothing_and_shows_what_was_recorded():
    pictures = _ROOT / "docs" / "pictures"
    svg = (pictures / "terminal.svg").read_text("utf-8")
    assert not re.search(r"(?:href|src)=|url\((?!#)|@font-face", svg)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", (pictures / "terminal.txt").read_text("utf-8"))
    shown = re.sub(r"<[^>]+>", "", svg).replace("&#160;", "").replace(" ", "")
    for command in re.findall(r"^\$ (alexnet .*)$", plain, re.MULTILINE):
        parse(command.split()[1:])
        assert command.replace(" ", "") in shown
    assert max(path.stat().st_size for path in pictures.glob("*.png")) < 300_000


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_block_of_the_tutorial_runs(isolated, succeed):
    found = _BLOCK.findall((_ROOT / "docs" / "tutorial.md").read_text("utf-8"))
    found = [(language, block) for language, block in found if language != "text"]
    assert len(found) > 8
    printed = ""
    for language, block in found:
        if language == "python":
            python = [sys.executable, "-c", block]
            printed += subprocess.run(python, capture_output=True, text=True, check=True).stdout
            continue
        for line in block.splitlines():
            name, *arguments = line.split()
            assert name == "alexnet"
            succeed(*arguments)
    assert "ClassProbability(name=" in printed
    assert Path("shapes-train.png").is_file()
    assert Path("runs/own/model.onnx").is_file()


def test_the_site_builds_without_a_warning(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"],
        cwd=_ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert "fonts.googleapis" not in page
