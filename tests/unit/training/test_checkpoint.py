import dataclasses
import json

import numpy as np
import pytest
import torch
from torch import nn

from alexnet_cli.config.schema import TrainConfig
from alexnet_cli.errors import CheckpointError, ModelFileError
from alexnet_cli.training.checkpoint import (
    MODEL_FILE,
    OPTIMIZER_FILE,
    STATE_FILE,
    TrainState,
    read_checkpoint,
)
from tests.unit.training.conftest import AXES, CONFIG, HISTORY


def meaning(path):
    """Everything that a reader of the checkpoint can learn."""
    found = read_checkpoint(path)
    tensors = {
        (file, name): tensor.numpy().tobytes()
        for file in (MODEL_FILE, OPTIMIZER_FILE)
        for name, tensor in found.read_tensors(file).items()
    }
    return found.state, found.config, found.manifest, tensors


def test_round_trip(save, manifest):
    path = save(12, best_step=9)
    state, config, found, tensors = meaning(path)
    assert path.name == "step-12"
    assert state == TrainState(12, 2, 1, 0.1 + 0.2, 7, 1.25, 9, HISTORY)
    assert TrainConfig(**config).model_dump(mode="json") == CONFIG
    assert read_checkpoint(path).colour_axes == AXES
    assert found == manifest
    generator = torch.Generator().manual_seed(12)
    for file in (MODEL_FILE, OPTIMIZER_FILE):
        expected = torch.randn(4, 3, generator=generator).numpy().tobytes()
        assert tensors[file, "weight"] == expected


def test_a_flipped_bit_is_noticed_wherever_it_is(save, damage):
    path = save(3)
    files = [path / name for name in (MODEL_FILE, OPTIMIZER_FILE, STATE_FILE)]
    places = [(file, offset) for file in files for offset in range(file.stat().st_size)]
    generator = np.random.default_rng(1)
    unnoticed = []
    for index in generator.choice(len(places), size=1_000, replace=False):
        (file, offset), content = places[index], places[index][0].read_bytes()
        damage(file, offset, bit=int(generator.integers(8)))
        try:
            read_checkpoint(path)
        except (CheckpointError, ModelFileError):
            continue
        finally:
            file.write_bytes(content)
        unnoticed.append((file.name, content[offset - 12 : offset + 12]))
    assert not unnoticed
    assert read_checkpoint(path).state.step == 3


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


def test_without_state_json_there_is_no_checkpoint(save):
    path = save(3)
    (path / STATE_FILE).unlink()
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    assert caught.value.code == "checkpoint_missing"


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
