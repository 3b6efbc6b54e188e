"""README.md and the pages: their Python runs, their commands exist, their links lead somewhere."""

import contextlib
import json
import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from alexnet_cli.cli.app import CONTEXT_SETTINGS, build_app
from tests.conftest import Run

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


def parse(words):
    """Parse a command line as `alexnet` does, without running it."""
    following = [*words[1:], "-"]
    words = [
        f"{word}=newest" if word == "--resume" and after.startswith("-") else word
        for word, after in zip(words, following, strict=True)
    ]
    command, context = get_command(build_app()), None
    while hasattr(command, "commands") and words and words[0] in command.commands:
        command, words = command.commands[words[0]], words[1:]
    assert not hasattr(command, "commands") or not words, f"there is no command {words}"
    command.make_context("alexnet", words, parent=context, **CONTEXT_SETTINGS)


@pytest.mark.parametrize("page", _PAGES, ids=lambda path: path.name)
def test_the_commands_of_a_page_exist(page):
    for words in commands(page):
        parse(words)


def test_commands_are_found_and_wrong_ones_are_refused(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```sh\nalexnet train --lr 0.1 \\\n  --resume | cat\nls\n```\n")
    (words,) = commands(page)
    assert words == ["train", "--lr", "0.1", "--resume"]
    parse(words)
    with pytest.raises(Exception, match="--no-such-flag"):
        parse(["train", "--no-such-flag"])
    assert sum(len(commands(page)) for page in _PAGES) > 60


def test_quick_commands_of_the_pages_run(alexnet: Run):
    shown = [shlex.join(["alexnet", *words]) for page in _PAGES for words in commands(page)]
    for line in _QUICK:
        assert line in shown
        done = alexnet(*line.split()[1:])
        assert done.returncode == 0 or line == "alexnet doctor", done.stderr
        assert len(done.stdout) > 100


def run_python(page, folder, capfd):
    """Run the one Python block of a page in the folder of a run; return what it prints."""
    (block,) = blocks(page, "python")
    block = block.replace("alexnet-cifar-cifar10", "alexnet-cifar-shapes")
    capfd.readouterr()
    with contextlib.chdir(folder):
        exec(block.replace("img.png", "0.png"), {})  # noqa: S102 - as a reader would
    return capfd.readouterr().out


def test_the_python_lines_of_the_readme_answer_as_predict_does(trained_folder, alexnet, capfd):
    printed = run_python(_ROOT / "README.md", trained_folder, capfd)
    model = trained_folder / "runs" / "alexnet-cifar-shapes" / "model.onnx"
    answer = json.loads(alexnet("predict", trained_folder / "0.png", "-m", model, "--json").stdout)
    name, probability = re.fullmatch(r"(\w+) (0\.\d+)\n", printed).groups()
    assert name == answer["class"]
    assert float(probability) == pytest.approx(answer["probability"], abs=1e-6)


def test_the_python_lines_of_the_page_on_prediction_run(trained_folder, capfd):
    printed = run_python(_ROOT / "docs" / "prediction.md", trained_folder, capfd)
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
