import json
import shutil

import pytest

from alexnet_cli.errors import CheckpointError, UsageError
from alexnet_cli.report.examine import read_run


@pytest.fixture
def run(small_run, tmp_path):
    return shutil.copytree(small_run, tmp_path / "run")


def test_a_run_has_its_best_checkpoint_and_all_epochs(run):
    record = read_run(run)
    assert record.best.folder.name == "step-2"  # 37.5 % against 25 % and 30 %
    assert [row.epoch for row in record.history] == [1, 2, 3]
    assert record.environment == {"command": ["alexnet", "train"]}
    assert record.seconds == pytest.approx(4.9)
    assert record.name == "run"


def test_without_its_environment_it_is_a_run_still(run):
    (run / "environment.json").unlink()
    assert read_run(run).environment == {}


def test_a_damaged_best_checkpoint_is_passed_over_aloud(run):
    (run / "checkpoints" / "step-2" / "model.safetensors").write_bytes(b"x")
    told = []
    assert read_run(run, warn=told.append).best.folder.name == "step-3"
    assert "sha256 differs" in told[0]


@pytest.mark.parametrize(
    "content",
    [b"{", b"\xff", b"[]", b'{"command": "alexnet"}', b'{"command": [1]}', b"[" * 100_000],
    ids=["cut", "no text", "list", "words", "numbers", "deep"],
)
def test_a_damaged_environment_is_told_in_words(run, content):
    (run / "environment.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"environment\.json is damaged") as raised:
        read_run(run)
    assert raised.value.hint.startswith("the report does without it: rm ")


def test_what_is_no_run(run, tmp_path):
    with pytest.raises(CheckpointError, match="is not a run folder"):
        read_run(tmp_path / "none")
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "config.toml").touch()
    with pytest.raises(CheckpointError, match="has no checkpoint yet"):
        read_run(tmp_path / "begun")
    with pytest.raises(UsageError, match="is one checkpoint") as raised:
        read_run(run / "checkpoints" / "step-2")
    assert raised.value.hint == f"alexnet report {run}"


def test_a_run_before_its_first_epoch(make_run, make_images):
    run = make_run(make_images(("a", "b"), per_class=16), history=())
    with pytest.raises(CheckpointError, match="has not completed an epoch yet"):
        read_run(run)


def test_damaged_checkpoints_alone(run):
    for state in run.glob("checkpoints/*/state.json"):
        state.write_text(json.dumps({}))
    with pytest.raises(CheckpointError, match="no usable checkpoint"):
        read_run(run)
