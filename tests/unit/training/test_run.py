"""The set-up of a run, and what ends it."""

import dataclasses

import pytest
import torch
from filelock import FileLock

from alexnet_cli.config.schema import TrainConfig
from alexnet_cli.errors import CheckpointError, TrainingError, UsageError
from alexnet_cli.training import run as run_module
from alexnet_cli.training.device import is_out_of_memory
from alexnet_cli.training.run import prepare_run, resume_run, train
from alexnet_cli.training.setup import RuntimeOptions

TINY = {"data": "shapes", "image_size": 12, "crop_size": 8, "val_size": 9_900, "epochs": 1}


@pytest.fixture
def prepare(tmp_path):
    def make(name="run", **settings):
        config = TrainConfig(**{**TINY, **settings})
        return prepare_run(config, RuntimeOptions(device="cpu"), name=name, parent=tmp_path)

    return make


def resume(path, **requested):
    options = RuntimeOptions(device="cpu")
    return resume_run(path, options, requested=requested, warn=lambda _: None)


def test_a_run_is_trained_resumed_and_locked(prepare):
    run = prepare()
    assert (len(run.train), len(run.val)) == (100, 9_900)
    assert "100 to train on, 9,900 held out" in run.manifest.provenance.images
    best = train(run)
    assert best.epoch == 1
    resumed, checkpoint = resume(run.folder.path, epochs=2)
    assert (resumed.config.epochs, checkpoint.state.epoch) == (2, 1)
    assert resumed.manifest.input == run.manifest.input
    with FileLock(run.folder.path / ".lock"), pytest.raises(TrainingError) as caught:
        train(resumed, checkpoint)
    assert caught.value.code == "run_busy"
    assert train(resumed, checkpoint).epoch in (1, 2)
    with pytest.raises(UsageError) as refused:
        resume(run.folder.path, seed=5)
    assert refused.value.code == "config_differs"


def test_nothing_is_written_for_a_run_that_cannot_be(prepare, tmp_path):
    with pytest.raises(UsageError, match="cannot hold out"):
        prepare(val_size=10_000)
    assert not (tmp_path / "run").exists()
    with pytest.raises(CheckpointError, match="is not a run folder"):
        resume(tmp_path)


@pytest.mark.parametrize(
    ("settings", "has_saved", "expected"),
    [
        ({}, False, "alexnet train --micro-batch-size 64"),
        ({"micro_batch_size": 10}, False, "alexnet train --micro-batch-size 5"),
        ({}, True, "--allow-drift --micro-batch-size 64"),
        ({"model": "alexnet-cifar-bn"}, False, "alexnet train --batch-size 64"),
        ({"batch_size": 1, "dropout": 0.1}, False, "--image-size"),
    ],
)
@pytest.mark.parametrize(
    "error", [MemoryError(), torch.OutOfMemoryError(), RuntimeError("bad_alloc")]
)
def test_the_error_of_too_little_memory_names_a_size(
    prepare, monkeypatch, settings, has_saved, expected, error
):
    def fail(*_args):
        raise error

    run = prepare(**settings)
    if has_saved:
        folder = run.folder.checkpoints / "step-1"
        folder.mkdir(parents=True)
        (folder / "state.json").touch()
    monkeypatch.setattr(run_module.Trainer, "train", fail)
    with pytest.raises(TrainingError) as caught:
        train(run)
    assert caught.value.code == "out_of_memory"
    assert expected in caught.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "CUDA out of memory. Tried to allocate 2.00 GiB", "CUDA error: out of memory",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "Triton Error [CUDA]: out of memory", "cudaErrorMemoryAllocation",
        "[enforce fail] DefaultCPUAllocator: can't allocate memory", "std::bad_alloc",
        "could not create a primitive",
    ],
)  # fmt: skip
def test_every_form_of_too_little_memory_is_known(text):
    assert is_out_of_memory(RuntimeError(text))
    assert is_out_of_memory(torch.OutOfMemoryError())
    assert not is_out_of_memory(RuntimeError("could not create a primitive descriptor"))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_other_errors_pass(prepare, monkeypatch):
    run = dataclasses.replace(prepare())
    monkeypatch.setattr(run_module.Trainer, "train", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train(run)
