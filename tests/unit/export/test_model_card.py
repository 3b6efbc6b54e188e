import re
from dataclasses import replace

import pytest

from alexnet_cli.export.model_card import code_span, write_card
from alexnet_cli.manifest import Deployment, ExportPrecision, LrnForm, Parity
from tests.unit.test_manifest import MANIFEST

PARITY = Parity(1000, 7.6e-6, 20, "validation images", 770, 780)
EXPORTED = replace(
    MANIFEST, deployment=Deployment(ExportPrecision.INT8, 10, 20, LrnForm.NATIVE, {}, 500, PARITY)
)


def test_the_head_is_yaml_for_hugging_face(tmp_path):
    text = write_card(tmp_path, EXPORTED, {}).read_text()
    head, _, rest = text.removeprefix("---\n").partition("\n---\n")
    assert "pipeline_tag: image-classification" in head
    assert '- "shapes"' in head
    assert "      value: 0.8125" in head
    assert rest.startswith("# alexnet-cifar on shapes")


def test_names_are_text_and_paths_stay_private(tmp_path):
    classes = ("<img src=x>", "[a](http://x)", "a|b", "# c", "`d`", "e*f_g", "h\x1b[2J", "~i~",
               "j\\k", "!l")  # fmt: skip
    origin = replace(EXPORTED.provenance, data="/home/someone/secret/my *photos*")
    text = write_card(
        tmp_path, replace(EXPORTED, classes=classes, provenance=origin), {}
    ).read_text()
    assert "someone" not in text
    assert "# alexnet-cifar on my \\*photos\\*/\n" in text
    (line,) = (line for line in text.splitlines() if line.startswith("10 classes: "))
    for character in "<[|`*_~!\x1b":
        assert not re.search(rf"(?<!\\){re.escape(character)}", line), character


@pytest.mark.parametrize(
    ("text", "span"), [("a b", "`a b`"), ("a `b`", "`` a `b` ``"), ("a ``` b", "```` a ``` b ````")]
)
def test_code_ends_where_it_should(text, span):
    assert code_span(text) == span


def test_a_row_names_precision_and_parity(tmp_path):
    (tmp_path / "model.onnx").touch()
    text = write_card(tmp_path, EXPORTED, {"model.onnx": EXPORTED}).read_text()
    row = next(line for line in text.splitlines() if line.startswith("| `model.onnx`"))
    assert "int8, ranges from 500 training images | 10 | 20 | native" in row
    assert "98.00% of 1,000 validation images" in row
    assert "-1.00 points" in row


@pytest.mark.parametrize("first", ["train", "export"])
def test_training_and_export_keep_what_the_other_wrote(tmp_path, first):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "model.onnx").touch()
    steps = [
        lambda: write_card(tmp_path, MANIFEST, {}, trained=("| epochs | 9 |", "Repeat it.")),
        lambda: write_card(tmp_path, EXPORTED, {"model.onnx": EXPORTED}),
    ]
    for step in steps if first == "train" else steps[::-1]:
        step()
    text = (tmp_path / "README.md").read_text()
    assert "Repeat it." in text
    assert "| epochs | 9 |" in text
    assert text.count("## Files") == text.count("| `model.onnx`") == text.count("\n# ") == 1


def test_rows_of_other_files_stay_while_they_are_there(tmp_path):
    for name in ("model.onnx", "model.safetensors"):
        (tmp_path / name).touch()
        write_card(tmp_path, EXPORTED, {name: EXPORTED})
    assert (tmp_path / "README.md").read_text().count("| `model.") == 2
    (tmp_path / "model.onnx").unlink()
    text = write_card(tmp_path, EXPORTED, {"model.safetensors": EXPORTED}).read_text()
    assert text.count("| `model.") == 1


def test_a_readme_that_is_not_a_card_stays(tmp_path):
    (tmp_path / "README.md").write_text("# mine\n")
    assert write_card(tmp_path, EXPORTED, {}).name == "MODEL_CARD.md"
    assert (tmp_path / "README.md").read_text() == "# mine\n"
