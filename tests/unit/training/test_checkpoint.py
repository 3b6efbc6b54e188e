import dataclasses
import json

import numpy as np
import pytest
import torch
from torch import nn

from alexnet_cli.config import TrainConfig
from alexnet_cli.errors import CheckpointError, ModelFileError
from alexnet_cli.training.checkpoint import (
    MODEL_FILE,
    OPTIMIZER_FILE,
    STATE_FILE,
    EpochRow,
    TrainState,
    best_checkpoint,
    newest_checkpoint,
    prune_checkpoints,
    read_checkpoint,
    save_checkpoint,
)

CONFIG = TrainConfig(data="shapes", epochs=9, learning_rate=0.1 + 0.2).model_dump(mode="json")
HISTORY = (
    EpochRow(1, 0.1, 2.302585, 1 / 3, 2.1, 0.25, 1.5, 0.2, 1234.5678),
    EpochRow(2, 0.1 + 0.2, 1.7, 0.5, 1.6, 0.375, 1.4, 0.2, 1300.0),
)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "checkpoints"


@pytest.fixture
def save(folder, manifest):
    def save_step(step, *, best_step=0):
        generator = torch.Generator().manual_seed(step)
        tensors = {n: torch.randn(4, 3, generator=generator) for n in ("weight", "other")}
        return save_checkpoint(
            folder,
            state=TrainState(step, 2, 1, 0.1 + 0.2, 7, 1.25, best_step, HISTORY),
            config=CONFIG,
            environment={"device": "cpu"},
            manifest=manifest,
            model={"weight": tensors["weight"]},
            optimizer={"weight": tensors["other"]},
        )

    return save_step


def meaning(path):
    """Everything that a reader of the checkpoint can learn."""
    found = read_checkpoint(path)
    tensors = {
        (file, name): tensor.numpy().tobytes()
        for file in (MODEL_FILE, OPTIMIZER_FILE)
        for name, tensor in found.read_tensors(file).items()
    }
    return found.state, found.config, found.manifest, tensors


def damage(path, offset):
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)


def steps(folder):
    return sorted(int(path.name.removeprefix("step-")) for path in folder.iterdir())


def test_round_trip(save, manifest):
    path = save(12, best_step=9)
    state, config, found, tensors = meaning(path)
    assert path.name == "step-12"
    assert state == TrainState(12, 2, 1, 0.1 + 0.2, 7, 1.25, 9, HISTORY)
    assert TrainConfig(**config).model_dump(mode="json") == CONFIG
    assert found == manifest
    generator = torch.Generator().manual_seed(12)
    for file in (MODEL_FILE, OPTIMIZER_FILE):
        expected = torch.randn(4, 3, generator=generator).numpy().tobytes()
        assert tensors[file, "weight"] == expected


@pytest.mark.parametrize(
    "file",
    [
        MODEL_FILE,
        OPTIMIZER_FILE,
        pytest.param(
            STATE_FILE,
        ),
    ],
)
def test_a_flipped_bit_is_noticed_or_harmless(save, file):
    path = save(3)
    whole, content = meaning(path), (path / file).read_bytes()
    offsets = np.random.default_rng(1).choice(len(content), size=60, replace=False)
    unnoticed = []
    for offset in offsets:
        damage(path / file, offset)
        try:
            if meaning(path) != whole:
                unnoticed.append(content[offset - 12 : offset + 12])
        except (CheckpointError, ModelFileError):
            pass
        (path / file).write_bytes(content)
    assert not unnoticed


@pytest.mark.parametrize("file", [MODEL_FILE, OPTIMIZER_FILE, STATE_FILE])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_file_cut_short_is_noticed(save, file, share):
    path = save(3)
    content = (path / file).read_bytes()
    (path / file).write_bytes(content[: int(len(content) * share)])
    with pytest.raises(CheckpointError, match=file) as caught:
        read_checkpoint(path)
    assert caught.value.code == "checkpoint_corrupt"


@pytest.mark.parametrize("file", [MODEL_FILE, OPTIMIZER_FILE])
def test_a_missing_tensor_file_is_noticed(save, file):
    path = save(3)
    (path / file).unlink()
    with pytest.raises(CheckpointError, match="missing"):
        read_checkpoint(path)


def test_without_state_json_there_is_no_checkpoint(save, folder):
    path = save(3)
    (path / STATE_FILE).unlink()
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    assert caught.value.code == "checkpoint_missing"
    with pytest.raises(CheckpointError) as caught:
        newest_checkpoint(folder)
    assert caught.value.hint


def test_newest_falls_back_to_an_older_whole_one_and_warns(save, folder):
    for step in (9, 10, 100):  # 100 is newest by number, not by name
        save(step)
    assert newest_checkpoint(folder).state.step == 100
    (folder / "step-100" / STATE_FILE).unlink()
    damage(folder / "step-10" / MODEL_FILE, -1)
    warnings = []
    assert newest_checkpoint(folder, warn=warnings.append).state.step == 9
    assert ["step-100" in warnings[0], "step-10" in warnings[1], len(warnings)] == [True, True, 2]


def test_newest_falls_back_when_the_manifest_is_damaged(save, folder):
    save(1)
    path = save(2) / STATE_FILE
    document = json.loads(path.read_text())
    document["manifest"]["network"]["name"] = "alexnet-cifas"
    path.write_text(json.dumps(document))
    assert newest_checkpoint(folder).state.step == 1


def test_prune_keeps_the_best_and_the_two_newest(save, folder):
    for step in (1, 2, 3, 9, 10):
        save(step, best_step=2)
    prune_checkpoints(folder / "step-10", best_step=2)
    assert steps(folder) == [2, 9, 10]
    assert best_checkpoint(folder).state.step == 2
    prune_checkpoints(folder / "step-10", best_step=10)
    assert steps(folder) == [9, 10]


def test_prune_deletes_nothing_unless_the_newest_reads_back(save, folder):
    for step in (1, 2, 3, 4):
        save(step)
    damage(folder / "step-4" / OPTIMIZER_FILE, -1)
    with pytest.raises(CheckpointError):
        prune_checkpoints(folder / "step-4", best_step=0)
    assert steps(folder) == [1, 2, 3, 4]


def test_prune_removes_later_leftovers(save, folder):
    for step in (1, 2, 7):
        save(step)
    prune_checkpoints(folder / "step-2", best_step=1)
    assert steps(folder) == [1, 2]


def test_best_is_the_newest_before_the_end_of_the_first_epoch(save, folder):
    save(1)
    save(2)
    assert best_checkpoint(folder).state.step == 2


def test_in_place_of_a_damaged_best_comes_the_newest_and_a_warning(save, folder):
    save(1)
    save(2, best_step=1)
    damage(folder / "step-1" / MODEL_FILE, -1)
    warnings = []
    assert best_checkpoint(folder, warn=warnings.append).state.step == 2
    assert "step-1" in warnings[0]
    assert "taking the newest" in warnings[0]


def test_weights_of_another_layout_are_refused(save):
    checkpoint = read_checkpoint(save(1))
    with pytest.raises(CheckpointError, match="does not fit") as caught:
        checkpoint.load_model(nn.Linear(5, 4, bias=False))
    assert caught.value.code == "checkpoint_mismatch"
    fitting = nn.Linear(3, 4, bias=False)
    checkpoint.load_model(fitting)
    assert torch.equal(fitting.weight, checkpoint.read_tensors(MODEL_FILE)["weight"])


def test_the_state_is_readable_json(save):
    document = json.loads((save(5) / STATE_FILE).read_text())
    assert document["state"]["history"][1] == dataclasses.asdict(HISTORY[1])
