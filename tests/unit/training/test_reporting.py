import io
import math
import time

import pytest
from rich.console import Console

from alexnet_cli.training import reporting
from alexnet_cli.training.checkpoint import EpochRow
from alexnet_cli.training.reporting import TimedIterator, TrainingDisplay, duration, sparkline


def rows(count):
    return tuple(
        EpochRow(
            epoch=number,
            learning_rate=0.01,
            train_loss=1.5,
            train_top1=0.4,
            val_loss=1.2,
            val_top1=0.8 - 0.5 * math.exp(-number / 10),
            train_seconds=120,
            val_seconds=3,
            images_per_second=383,
        )
        for number in range(1, count + 1)
    )


def shown(monkeypatch, *, width, encoding="utf-8", done=11):
    """Return the lines that a terminal shows in the middle of an epoch."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(file=stream, force_terminal=True, width=width, color_system=None)
    monkeypatch.setattr(reporting, "stderr_console", lambda: console)
    display = TrainingDisplay(90, quiet=False)
    display.on_start(None, rows(done))
    display.on_step(done + 1, 128, 45_000)
    display.on_log(loss=0.578, top1=0.7996, learning_rate=0.01)
    display.on_step(done + 1, 23_040, 45_000)
    console.print(display._render())
    stream.flush()
    return stream.buffer.getvalue().decode(encoding).splitlines()


@pytest.mark.parametrize("width", [20, 30, 40, 60, 80, 140])
def test_two_lines_that_fit_whatever_the_width(monkeypatch, width):
    lines = shown(monkeypatch, width=width)
    assert len(lines) == 2
    assert all(len(line) <= width for line in lines)
    assert "left" in lines[1]
    assert not [line for line in lines if "…" in line]


def test_at_80_columns_nothing_is_left_out(monkeypatch):
    bar, figures = shown(monkeypatch, width=80)
    for words in ("epoch 12/90", "lr 0.01", "23,040/45,000", "images/s"):
        assert words in bar
    for words in ("loss 0.578", "acc 80.0%", "█", "63.4%, best 63.4%", "left"):
        assert words in figures


def test_a_terminal_without_blocks_gets_none(monkeypatch):
    lines = shown(monkeypatch, width=80, encoding="ascii")
    assert "val acc 63.4%" in lines[1]


def test_before_the_first_validation_there_is_no_curve(monkeypatch):
    assert "val" not in shown(monkeypatch, width=80, done=0)[1]


def test_the_first_lines_say_how_long_it_will_take(monkeypatch):
    stream, now = io.StringIO(), [0.0]
    monkeypatch.setattr(reporting, "stderr_console", lambda: Console(file=stream))
    monkeypatch.setattr(reporting.time, "perf_counter", lambda: now[0])
    display = TrainingDisplay(90, quiet=False, quicker="--recipe fast takes 15 epochs")
    for step in range(1, 61):
        display.on_step(1, 128 * step, 45_000)
        if step % 20 == 0:
            display.on_log(loss=2.0, top1=0.2, learning_rate=0.01)
        now[0] += 1.28
    display.warn("resume \x1b[2J")
    first, hint, *later, warning = stream.getvalue().splitlines()
    assert warning == "resume \\x1b[2J"
    assert first == "about 100 images/s: 7:30 an epoch, 11:14:34 to the end"
    assert hint == "hint: --recipe fast takes 15 epochs"
    # Without a bar there is a line every half a minute: here at update 60, 51 s later.
    assert later == ["epoch 1/90  17%  lr 0.01  loss 2.000  acc 20.0%  100 images/s  11:13:43 left"]


def test_a_short_first_epoch_ends_with_the_estimate(monkeypatch):
    stream, now = io.StringIO(), [0.0]
    monkeypatch.setattr(reporting, "stderr_console", lambda: Console(file=stream))
    monkeypatch.setattr(reporting.time, "perf_counter", lambda: now[0])
    display = TrainingDisplay(90, quiet=False, quicker="--recipe fast takes 15 epochs")
    for done in (128, 256, 270):
        now[0] += 1.0
        display.on_step(1, done, 270)
    (row,) = rows(1)
    display.on_epoch(row, is_best=True)
    display.on_epoch(row, is_best=False)
    lines = stream.getvalue().splitlines()
    assert [line.partition(" ")[0] for line in lines] == ["epoch", "about", "epoch"]
    assert lines[1] == "about 71 images/s: 0:04 an epoch, 10:08 to the end"


@pytest.mark.parametrize(
    ("values", "line"),
    [([0.1, 0.2, 0.8], "▁▂█"), ([0.5], "▁"), ([0.5, 0.5], "▁▁"), ([0.0, 1.0], "▁█")],
)
def test_sparkline(values, line):
    assert sparkline(values) == line


@pytest.mark.parametrize(
    ("seconds", "words"), [(8.6, "0:09"), (309, "5:09"), (7_509, "2:05:09"), (3_599.7, "1:00:00")]
)
def test_duration(seconds, words):
    assert duration(seconds) == words


def test_the_time_between_items_is_measured():
    def slow():
        for item in "ab":
            time.sleep(0.02)
            yield item

    begin = time.perf_counter()
    items = TimedIterator(slow())
    assert list(items) == ["a", "b"]
    assert 0.04 <= items.wait_seconds <= items.seconds <= time.perf_counter() - begin
    items.restart()
    assert items.wait_seconds == 0.0
    assert items.seconds < time.perf_counter() - begin - 0.04
