"""The list of runs, made of run folders as training leaves them."""

import json
import os
from pathlib import Path

import pytest

from tests.made_runs import copy_run


@pytest.fixture
def two_runs(trained_folder, isolated):
    """The trained run under two names, the second later and of other settings."""
    runs = isolated / "runs"
    for number, name in enumerate(("first", "second")):
        copy_run(trained_folder / "runs" / "alexnet-cifar-shapes", runs / name)
        os.utime(runs / name / "config.toml", (1_000 + number, 1_000 + number))
    config = runs / "second" / "config.toml"
    config.write_text(config.read_text().replace("momentum = 0.9", "momentum = 0.8"))
    os.utime(config, (2_000, 2_000))
    return runs


def test_runs_are_listed_newest_first(two_runs, alexnet):
    listed = json.loads(alexnet("runs", "--json").stdout)
    assert [Path(run["path"]).name for run in listed] == ["second", "first"]
    (_, first) = listed
    result = json.loads((two_runs / "first" / "metrics.json").read_text())
    assert first["best_val_top1"] == result["best_val_top1"]
    assert (first["epochs_done"], first["epochs"], first["test_top1"]) == (2, 2, None)
    assert first["exports"] == ["model.onnx", "model.safetensors"]
    heading, second, _ = alexnet("runs").stdout.splitlines()
    assert heading.split()[:4] == ["run", "network", "data", "recipe"]
    assert second.split()[:2] == ["second", "alexnet-cifar"]


def test_an_evaluation_of_a_checkpoint_on_the_test_set_is_listed(two_runs, alexnet):
    for path, *flags in (("first/model.onnx",), ("first", "--views", "10")):
        alexnet("evaluate", two_runs / path, *flags)
    assert not (two_runs / "first" / "test.json").exists()
    measured = json.loads(alexnet("evaluate", two_runs / "first", "--json").stdout)
    (_, first) = json.loads(alexnet("runs", "--json").stdout)
    assert first["test_top1"] == measured["top1"]


def test_settings_that_differ_are_shown(two_runs, alexnet):
    differing = json.loads(alexnet("runs", "first", two_runs / "second", "--json").stdout)
    assert list(differing) == ["momentum"]
    assert sorted(differing["momentum"].values()) == [0.8, 0.9]
    assert alexnet("runs", "first", "second").stdout.split() == [
        "setting", "first", "second", "momentum", "0.9", "0.8",
    ]  # fmt: skip


def test_a_run_that_cannot_be_read_does_not_hide_the_others(two_runs, alexnet):
    (two_runs / "second" / "config.toml").write_text("no = = toml")
    listed = alexnet("runs", "--json")
    assert [Path(run["path"]).name for run in json.loads(listed.stdout)] == ["first"]
    assert "second is left out" in listed.stderr


def test_no_run_and_no_such_run_are_errors(alexnet):
    assert alexnet("runs").returncode == alexnet("runs", "nothing", "nowhere").returncode == 1


def test_a_mistyped_run_is_answered_with_the_nearest(two_runs, alexnet):
    for line in ("predict x.png --model {}", "evaluate {}", "export {}", "report {}",
                 "train --resume {}"):  # fmt: skip
        refused = alexnet(*line.format("runs/secnd").split())
        assert refused.returncode == 1
        assert "did you mean 'runs/second'?" in refused.stderr, line
