import json
import shutil
from pathlib import Path

import pytest

from alexnet_cli.cli.export import command
from alexnet_cli.errors import DataError, UsageError
from alexnet_cli.inference.session import load_model, read_safetensors
from alexnet_cli.manifest import METADATA_KEY, WEIGHTS_HASH_KEY
from alexnet_cli.run_folder import pretrained_folder
from tests.made_runs import make_images

ONNX, SAFETENSORS = "model.onnx", "model.safetensors"


@pytest.fixture
def copy(exported, tmp_path):
    """Return a function that copies the weights elsewhere, as trained on other data."""

    def write(folder, *, data="shapes"):
        folder.mkdir(parents=True, exist_ok=True)
        content = (exported.whole / SAFETENSORS).read_bytes()
        length = 8 + int.from_bytes(content[:8], "little")
        header = json.loads(content[8:length])
        manifest = json.loads(header["__metadata__"][METADATA_KEY])
        manifest["provenance"]["data"] = data
        header["__metadata__"][METADATA_KEY] = json.dumps(manifest)
        changed = json.dumps(header).encode()
        path = folder / SAFETENSORS
        path.write_bytes(len(changed).to_bytes(8, "little") + changed + content[length:])
        return path

    return write


def test_weights_become_a_graph_in_the_folder_that_they_lie_in(exported, copy, tmp_path, capsys):
    path = copy(tmp_path).rename(tmp_path / "mine.safetensors")
    command(path)
    assert capsys.readouterr().out.strip() == str(tmp_path / ONNX)
    images = exported.images_BSSC
    answers = [load_model(p, device="cpu").logits(images) for p in (path, tmp_path / ONNX)]
    assert abs(answers[0] - answers[1]).max() < 1e-5


def test_weights_written_again_are_the_same_weights(exported, isolated):
    command(exported.whole / SAFETENSORS, file_format="safetensors", output=isolated / "out")
    files = [exported.whole / SAFETENSORS, isolated / "out" / SAFETENSORS]
    headers = [read_safetensors(path)[0]["__metadata__"] for path in files]
    assert headers[0][WEIGHTS_HASH_KEY] == headers[1][WEIGHTS_HASH_KEY]
    answers = [load_model(p, device="cpu").logits(exported.images_BSSC) for p in files]
    assert answers[0].tobytes() == answers[1].tobytes()


@pytest.mark.parametrize(
    "asked", [{"file_format": "safetensors"}, {"file_format": "all"}, {"shared_weights": True}]
)
def test_weights_are_never_replaced_by_their_copy(copy, tmp_path, asked):
    path = copy(tmp_path)
    before = path.stat().st_mtime_ns
    with pytest.raises(UsageError, match="its own copy") as caught:
        command(path, **asked, output=tmp_path / ".." / tmp_path.name)
    assert "--output" in caught.value.hint
    assert path.stat().st_mtime_ns == before


def test_downloaded_weights_are_compared_on_drawn_images(copy, capsys):
    folder = pretrained_folder("owt")
    copy(folder, data="imagenet")
    command(Path("owt"))
    told = capsys.readouterr()
    assert told.out.strip() == str(folder / ONNX)
    assert "on 16 drawn images" in told.err


@pytest.mark.parametrize("in_run", [True, False])
def test_an_onnx_file_is_refused_with_what_to_take(exported, tmp_path, in_run):
    shutil.copytree(exported.whole, tmp_path, dirs_exist_ok=True)
    if in_run:
        (tmp_path / "checkpoints").mkdir()
    with pytest.raises(UsageError, match=r"model\.onnx is an export already") as caught:
        command(tmp_path / ONNX)
    expected = tmp_path if in_run else tmp_path / SAFETENSORS
    assert caught.value.hint == f"name them: alexnet export {expected}"


def test_images_that_were_moved_can_be_named(copy, isolated, capsys):
    path = copy(isolated / "weights", data=str(isolated / "gone"))
    with pytest.raises(DataError, match="gone") as caught:
        command(path)
    assert f"alexnet export {path} --data FOLDER" in caught.value.hint
    make_images(isolated / "here", ("x", "y"), per_class=3, side=20)
    command(path, data="here")
    assert "on 6 images of here/" in capsys.readouterr().err
