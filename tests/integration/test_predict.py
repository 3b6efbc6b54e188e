"""`alexnet predict` as users and their scripts call it."""

import contextlib
import csv
import io
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from alexnet_cli.data import shapes
from tests.integration.conftest import RUN

FOUND = ["photos/b.png", "photos/in/a.png", "photos/in/er/c.png"]
PREDICT = (sys.executable, "-m", "alexnet_cli", "predict")


@pytest.fixture
def model(trained_folder):
    return trained_folder / RUN / "model.onnx"


@pytest.fixture
def photos(isolated, trained_folder):
    """Three images at several depths, a text file, and a hidden image."""
    (isolated / "photos" / "in" / "er").mkdir(parents=True)
    for number, name in enumerate(FOUND):
        shutil.copy(trained_folder / f"{number}.png", name)
    (isolated / "photos" / "notes.txt").write_text("no image")
    shutil.copy(trained_folder / "0.png", isolated / "photos" / ".hidden.png")
    return isolated / "photos"


@pytest.fixture
def answers_of(succeed):
    """Run `alexnet predict … --json`, which must succeed, and return its answers."""

    def run(*arguments, **options):
        printed = succeed("predict", *arguments, "--json", **options).stdout
        return [json.loads(line) for line in printed.splitlines()]

    return run


def test_every_way_to_name_the_same_images(photos, model, answers_of):
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
        found = answers_of(*images, "--model", model, stdin=given.encode())
        assert [answer["file"] for answer in found] == FOUND
        answers.add(tuple(answer["class"] for answer in found))
    assert len(answers) == 1


def test_the_bytes_of_an_image_on_stdin(photos, model, json_of):
    piped = subprocess.run(
        [*PREDICT, "-", "--model", model, "--json"],
        input=(photos / "b.png").read_bytes(), capture_output=True, check=True,
    )  # fmt: skip
    named = json_of("predict", photos / "b.png", "--model", model)
    assert json.loads(piped.stdout) == {**named, "file": "-"}


def test_csv(photos, model, alexnet):
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


def test_a_threshold_that_nothing_reaches(photos, model, json_of, succeed):
    arguments = ("predict", FOUND[0], "--model", model, "--threshold", "1")
    assert json_of(*arguments) == {
        "file": FOUND[0], "class": None, "index": None, "probability": None, "top": [],
    }  # fmt: skip
    assert succeed(*arguments, "--csv").stdout.splitlines()[1:] == [f"{FOUND[0]},,,,"]
    assert succeed(*arguments).stdout.split() == ["-", "-", FOUND[0]]
    succeed(*arguments, "--copy-to", "out")
    assert not Path("out").exists()


def test_bad_files_have_one_line_each_and_the_rest_is_answered(photos, model, alexnet):
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
        assert result.stderr.count('"image_unreadable"') == (5 if style == "--json" else 0)


def test_copies_go_into_class_folders(photos, model, answers_of):
    before = {path: path.read_bytes() for path in photos.rglob("*.png")}
    target = photos / "sorted"
    for _ in range(2):  # the second time the copies are neither read nor overwritten
        answers = answers_of(photos, "--model", model, "--copy-to", target)
        assert len(answers) == 3
    for answer in answers:
        source = Path(answer["file"])
        for name in (source.name, f"{source.stem}-2.png"):
            assert (target / answer["class"] / name).read_bytes() == before[source]
    assert len(list(target.rglob("*.png"))) == 6
    assert {path: path.read_bytes() for path in before} == before


def test_many_images_come_in_order_and_are_counted(photos, model, succeed):
    names = FOUND * 23
    result = succeed("predict", *names, "--model", model, "--json", "--verbose", "-b", "16")
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert [answer["file"] for answer in answers] == names
    for number, answer in enumerate(answers):
        assert answer["class"] == answers[number % 3]["class"]
        assert answer["probability"] == pytest.approx(answers[number % 3]["probability"], abs=1e-5)
    for text in ("loaded in", "69 images in", "images/s"):
        assert text in result.stderr


def test_a_reader_that_has_seen_enough_is_no_error(photos, model):
    arguments = " ".join(map(str, [*PREDICT, *FOUND * 400, "-q", "--json", "--model", model]))
    for command in (f"{arguments} | head -n 1", f"{arguments} | true"):
        result = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False
        )
        assert (result.returncode, result.stderr) == (0, "")


def test_a_list_that_comes_slowly_is_answered_as_it_comes(photos, model):
    process = subprocess.Popen(
        [*PREDICT, "--files-from", "-", "--model", model, "--json"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    for name in FOUND:
        process.stdin.write(f"{name}\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["file"] == name
    process.send_signal(signal.SIGINT)
    assert process.wait(200) == 130
    process.stdin.close()
    process.stdout.close()


def on_a_terminal(arguments, *, stdout=None):
    """Return what a command shows on a terminal: everything, or what does not go to `stdout`."""
    leader, terminal = pty.openpty()
    process = subprocess.Popen(
        [*PREDICT, *arguments], stdin=terminal, stdout=stdout or terminal, stderr=terminal,
        env={**os.environ, "COLUMNS": "100", "TERM": "xterm"},
    )  # fmt: skip
    os.close(terminal)
    shown = b""
    with contextlib.suppress(OSError):  # on Linux: nobody has the terminal open
        while chunk := os.read(leader, 1 << 16):
            shown += chunk
    os.close(leader)
    assert process.wait(200) == 0
    return shown.decode()


def test_on_a_terminal_there_are_tables(photos, model):
    shown = on_a_terminal([*FOUND * 22, "--model", model, "-k", "2"])
    assert "probability" in shown
    assert shown.count("┏") == 3
    assert all(name in shown for name in FOUND)


def test_the_count_is_shown_where_the_answers_are_not(photos, model):
    with Path("answers").open("wb") as answers:
        shown = on_a_terminal([*FOUND * 700, "--model", model, "--json"], stdout=answers.fileno())
    assert " images, " in shown
    assert shown.endswith("\r\x1b[K")
    assert len(Path("answers").read_text().splitlines()) == 2_100


def test_torch_and_typer_stay_out_of_a_plain_prediction(photos, model):
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
