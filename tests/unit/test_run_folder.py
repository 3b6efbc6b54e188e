import os
import subprocess
import sys
from pathlib import Path

import pytest
import tomli_w

from alexnet_cli.errors import AlexnetError, UsageError
from alexnet_cli.manifest import ExportPrecision
from alexnet_cli.run_folder import (
    RunFolder,
    create_run,
    exported_model,
    list_exports,
    model_file,
    newest_run,
)

_, FP16, INT8 = ExportPrecision


def start(name, *, seconds, parent=Path("runs"), data="cifar10"):
    run = create_run(name, parent=parent)
    run.config.write_text(f'# a run\ndata = "{data}"\n')
    state = run.checkpoints / "step-1" / "state.json"
    state.parent.mkdir(parents=True)
    state.touch()
    os.utime(run.config, (seconds, seconds))
    return run


def test_a_taken_name_is_numbered_and_a_gap_is_filled():
    names = [create_run("net").path for _ in range(3)]
    assert names == [Path("runs/net"), Path("runs/net-2"), Path("runs/net-3")]
    Path("runs/net-2").rmdir()
    assert create_run("net").path == Path("runs/net-2")
    Path("runs/mine").write_text("a file")
    assert create_run("mine").path == Path("runs/mine-2")
    assert Path("runs/mine").read_text() == "a file"
    assert create_run("other", parent=Path("deep/er")).path == Path("deep/er/other")
    assert Path("deep/er/other").is_dir()
    with pytest.raises(AlexnetError):
        create_run("net", parent=Path("runs/mine"))


def test_runs_started_at_once_never_share_a_folder(isolated):
    program = """
from alexnet_cli.run_folder import create_run
for _ in range(40):
    print(create_run('net').path)
"""
    processes = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    claimed = [path for process in processes for path in process.communicate()[0].split()]
    assert len(claimed) == len(set(claimed)) == 80


def test_the_newest_run_is_the_one_started_last():
    start("b", seconds=200)
    last = start("a", seconds=300)
    start("c", seconds=100)
    create_run("claimed-but-never-started").config.touch()
    Path("runs/stray-file").touch()
    assert newest_run() == last


def test_runs_that_cannot_be_read_are_passed_over(capsys):
    usable = start("usable", seconds=100)
    start("odd", seconds=200).config.write_bytes(b'data = "\xff"\n')
    os.utime("runs/odd/config.toml", (200, 200))
    Path("runs/loop").mkdir()
    Path("runs/loop/config.toml").symlink_to("config.toml")
    Path("runs/folder/config.toml").mkdir(parents=True)
    assert newest_run() == usable
    assert "runs/odd" in capsys.readouterr().err


def test_the_newest_of_another_folder_or_on_a_dataset():
    drawn = start("drawn", seconds=100, data="shapes")
    photos = start("photos", seconds=200)
    there = start("there", seconds=50, parent=Path("elsewhere"))
    assert newest_run(data="shapes") == drawn
    assert newest_run(data="cifar10") == photos
    assert newest_run(Path("elsewhere")) == there


def test_the_newest_on_a_folder_however_it_is_written(isolated):
    folder = isolated / 'my "élan" photos'
    folder.mkdir()
    mine = create_run("mine")
    mine.config.write_text("# a run\n" + tomli_w.dumps({"data": str(folder), "epochs": 1}))
    (mine.checkpoints / "step-1").mkdir(parents=True)
    (mine.checkpoints / "step-1" / "state.json").touch()
    start("other", seconds=2**33)
    assert newest_run(data=folder.name) == newest_run(data=f"{folder}/") == mine


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "x" * 300, "bad\udcff", "new\nline"])
def test_a_name_that_cannot_be_a_folder_is_refused(name):
    with pytest.raises(UsageError):
        create_run(name)


@pytest.mark.parametrize("make_folder", [False, True])
def test_no_run_is_an_error(isolated, make_folder):
    if make_folder:
        create_run("claimed-but-never-started")
    with pytest.raises(AlexnetError) as caught:
        newest_run()
    assert caught.value.code == "no_run"
    assert caught.value.hint


def test_a_run_is_used_in_float32_with_one_view_as_onnx_if_there_is_such_a_file(tmp_path):
    run = RunFolder(tmp_path)
    names = (
        "model-int8-10views.onnx", "model-int8.onnx", "model-fp16.onnx",
        "model-10views.safetensors", "model-10views.onnx", "model.safetensors",
        "model-shared.onnx", "model.onnx",
    )  # fmt: skip
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "model.onnx").mkdir()  # a folder is not a model
    for number, name in enumerate(names):
        if name == "model.onnx":
            (tmp_path / name).rmdir()
        (tmp_path / name).touch()
        assert exported_model(run) == tmp_path / name
        assert list_exports(tmp_path) == [tmp_path / each for each in names[number::-1]]
    assert exported_model(run, INT8) == model_file(tmp_path, INT8) == tmp_path / "model-int8.onnx"
    (tmp_path / "model-fp16.onnx").unlink()
    with pytest.raises(AlexnetError) as caught:
        exported_model(run, FP16)
    assert caught.value.code == "not_exported"
    assert f"alexnet export {tmp_path} --precision fp16" in caught.value.hint


def test_a_precision_chooses_among_the_files_of_a_run_only(tmp_path):
    file = tmp_path / "model.onnx"
    file.touch()
    assert model_file(file) == file
    with pytest.raises(UsageError):
        model_file(file, INT8)


def test_a_run_without_a_model_is_an_error_with_the_command_that_exports_it(tmp_path):
    with pytest.raises(AlexnetError) as caught:
        exported_model(RunFolder(tmp_path))
    assert caught.value.code == "not_a_run"
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(AlexnetError) as caught:
        exported_model(RunFolder(tmp_path))
    assert caught.value.code == "not_exported"
    assert f"alexnet export {tmp_path} --format onnx" in caught.value.hint
