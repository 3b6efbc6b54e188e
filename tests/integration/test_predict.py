"""`alexnet predict` as users and their scripts call it."""

import csv
import io
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from alexnet_cli.data import shapes
from tests.conftest import Run

PREDICT = (sys.executable, "-m", "alexnet_cli", "predict")


@pytest.fixture
def model(trained_folder: Path) -> Path:
    return trained_folder / "runs" / "alexnet-cifar-shapes" / "model.onnx"


@pytest.fixture
def photos(isolated: Path, trained_folder: Path) -> Path:
    """Three images at several depths, a text file, and a hidden image."""
    for number, name in enumerate(("photos/b.png", "photos/in/a.png", "photos/in/er/c.png")):
        (isolated / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(trained_folder / f"{number}.png", isolated / name)
    (isolated / "photos" / "notes.txt").write_text("no image")
    shutil.copy(trained_folder / "0.png", isolated / "photos" / ".hidden.png")
    return isolated / "photos"


FOUND = ["photos/b.png", "photos/in/a.png", "photos/in/er/c.png"]


def files_of(stdout: str) -> list[str]:
    return [json.loads(line)["file"] for line in stdout.splitlines()]


def test_every_way_to_name_the_same_images(photos: Path, model: Path, alexnet: Run) -> None:
    listed = "\n".join(FOUND)
    answers = set()
    for images, given in (
        (FOUND, ""),
        (["photos"], ""),
        (["photos/**"], ""),
        (["photos/*.png", "photos/in"], ""),
        (["--files-from", "-"], listed),
        (["--files-from", "-"], "photos\n"),
        (["--files-from=-"], listed.replace("\n", "\0") + "\0"),
    ):
        result = alexnet("predict", *images, "--model", model, "--json", stdin=given.encode())
        assert result.returncode == 0, result.stderr
        assert files_of(result.stdout) == FOUND
        answers.add(tuple(json.loads(line)["class"] for line in result.stdout.splitlines()))
    assert len(answers) == 1


def test_the_bytes_of_an_image_on_stdin(photos: Path, model: Path, alexnet: Run) -> None:
    piped = subprocess.run(
        [*PREDICT, "-", "--model", model, "--json"],
        input=(photos / "b.png").read_bytes(), capture_output=True, check=False,
    )  # fmt: skip
    named = alexnet("predict", photos / "b.png", "--model", model, "--json")
    assert piped.returncode == 0, piped.stderr
    assert json.loads(piped.stdout) == {**json.loads(named.stdout), "file": "-"}


@pytest.mark.parametrize("content", [b"", b"<html>", b"\x89PNG\r\n\x1a\n"])
def test_no_image_on_stdin(content: bytes, model: Path, isolated: Path, alexnet: Run) -> None:
    result = alexnet("predict", "-", "--model", model, stdin=content)
    assert result.returncode == 1
    assert result.stdout == ""
    assert "standard input" in result.stderr.splitlines()[-2]


def test_csv(photos: Path, model: Path, alexnet: Run) -> None:
    odd = photos / 'a "quoted", name.png'
    shutil.copy(photos / "b.png", odd)
    result = alexnet("predict", odd, FOUND[0], "--model", model, "--csv", "--top-k", "2")
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [(row["file"], row["rank"]) for row in rows] == [
        (str(odd), "1"), (str(odd), "2"), (FOUND[0], "1"), (FOUND[0], "2"),
    ]  # fmt: skip
    for row in rows:
        assert row["class"] == sorted(shapes.CLASSES)[int(row["index"])]
        assert 0 < float(row["probability"]) < 1


def test_a_threshold_that_nothing_reaches(photos: Path, model: Path, alexnet: Run) -> None:
    arguments = ("predict", FOUND[0], "--model", model, "--threshold", "1")
    answer = alexnet(*arguments, "--json")
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout) == {
        "file": FOUND[0], "class": None, "index": None, "probability": None, "top": [],
    }  # fmt: skip
    assert alexnet(*arguments, "--csv").stdout.splitlines()[1:] == [f"{FOUND[0]},,,,"]
    assert alexnet(*arguments).stdout.split() == ["-", "-", FOUND[0]]
    sorting = alexnet(*arguments, "--copy-to", "out")
    assert sorting.returncode == 0
    assert not Path("out").exists()


def test_bad_files_have_one_line_each_and_the_rest_is_answered(
    photos: Path, model: Path, alexnet: Run
) -> None:
    bad = [photos / f"bad{number}.png" for number in range(5)]
    for path in bad:
        path.write_bytes(b"\x89PNG\r\n\x1a\n but no more")
    for style in ("--json", "--csv", "--quiet"):
        result = alexnet("predict", "photos", "nowhere/*.png", "--model", model, style, "-k", "1")
        assert result.returncode == 1
        for name in FOUND:
            assert result.stdout.count(name) == 1
        errors = [line for line in result.stderr.splitlines() if "error" in line]
        assert [sum(path.name in line for line in errors) for path in bad] == [1] * 5
        assert len(errors) == 6
        assert result.stderr.count("hint: convert it") == (0 if style == "--json" else 1)


def test_copies_go_into_class_folders(photos: Path, model: Path, alexnet: Run) -> None:
    before = {path: path.read_bytes() for path in photos.rglob("*.png")}
    target = photos / "sorted"
    for _ in range(2):  # the second time the copies are neither read nor overwritten
        result = alexnet("predict", photos, "--model", model, "--copy-to", target, "--json")
        assert result.returncode == 0, result.stderr
        answers = [json.loads(line) for line in result.stdout.splitlines()]
        assert len(answers) == 3
    for answer in answers:
        source = Path(answer["file"])
        for name in (source.name, f"{source.stem}-2.png"):
            copy = target / answer["class"] / name
            assert copy.read_bytes() == before[source]
    assert len(list(target.rglob("*.png"))) == 6
    assert {path: path.read_bytes() for path in before} == before


def test_a_missing_list(model: Path, alexnet: Run) -> None:
    result = alexnet("predict", "--files-from", "nowhere.txt", "--model", model)
    assert result.returncode == 1
    assert "nowhere.txt" in result.stderr


def test_many_images_come_in_order_and_are_counted(photos: Path, model: Path, alexnet: Run) -> None:
    names = []
    for number in range(70):
        names.append(f"many/{number:03}.png")
        Path(names[-1]).parent.mkdir(exist_ok=True)
        shutil.copy(FOUND[number % 3], names[-1])
    result = alexnet("predict", "many", "--model", model, "--json", "--verbose", "-b", "16")
    assert files_of(result.stdout) == names
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    for number, answer in enumerate(answers):
        assert answer["class"] == answers[number % 3]["class"]
        assert answer["probability"] == pytest.approx(answers[number % 3]["probability"], abs=1e-5)
    assert "loaded in" in result.stderr
    assert "70 images in" in result.stderr
    assert "images/s" in result.stderr


def test_a_reader_that_has_seen_enough_is_no_error(photos: Path, model: Path) -> None:
    arguments = " ".join(map(str, [*PREDICT, *FOUND * 400, "-q", "--json", "--model", model]))
    for command in (f"{arguments} | head -n 1", f"{arguments} | true"):
        result = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False
        )
        assert (result.returncode, result.stderr) == (0, "")


def test_a_list_that_comes_slowly_is_answered_as_it_comes(photos: Path, model: Path) -> None:
    process = subprocess.Popen(
        [*PREDICT, "--files-from", "-", "--model", model, "--json"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    for name in FOUND:
        process.stdin.write(f"{name}\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["file"] == name
    process.send_signal(signal.SIGINT)
    assert process.wait(200) == 130
    process.stdin.close()
    process.stdout.close()


def on_a_terminal(arguments: list[str | Path], *, stdout: int | None = None) -> str:
    """Return what a command shows on a terminal: everything, or what does not go to `stdout`."""
    leader, terminal = pty.openpty()
    process = subprocess.Popen(
        [*PREDICT, *arguments], stdin=terminal, stdout=stdout or terminal, stderr=terminal,
        env={**os.environ, "COLUMNS": "100", "TERM": "xterm"},
    )  # fmt: skip
    os.close(terminal)
    shown = b""
    end = time.monotonic() + 200
    while time.monotonic() < end:
        try:
            chunk = os.read(leader, 1 << 16)
        except OSError:  # on Linux: nobody has the terminal open
            break
        if not chunk:
            break
        shown += chunk
    os.close(leader)
    assert process.wait(200) == 0
    return shown.decode()


def test_on_a_terminal_there_is_a_table(photos: Path, model: Path) -> None:
    shown = on_a_terminal([*FOUND, "--model", model, "-k", "2"])
    assert "probability" in shown
    assert shown.count("┏") == 1
    assert all(name in shown for name in FOUND)


def test_many_images_on_a_terminal_are_several_tables(photos: Path, model: Path) -> None:
    shown = on_a_terminal([*FOUND * 22, "--model", model, "-k", "1"])
    assert shown.count("┏") == 3


def test_the_count_is_shown_where_the_answers_are_not(photos: Path, model: Path) -> None:
    with Path("answers").open("wb") as answers:
        shown = on_a_terminal([*FOUND * 700, "--model", model, "--json"], stdout=answers.fileno())
    assert " images, " in shown
    assert shown.endswith("\r\x1b[K")
    assert len(Path("answers").read_text().splitlines()) == 2_100


def test_torch_and_typer_stay_out_of_a_plain_prediction(photos: Path, model: Path) -> None:
    script = (
        "import sys\nfrom alexnet_cli.cli.main import run\n"
        "run(sys.argv[1:])\nprint('MODULES', *sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, "predict", FOUND[0], "--model", model],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    loaded = set(result.stdout.partition("MODULES")[2].split())
    assert "onnxruntime" in loaded
    assert not loaded & {"torch", "onnx", "typer", "pydantic", "rich", "concurrent.futures.thread"}
