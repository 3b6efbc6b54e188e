import pytest

from alexnet_cli.errors import UsageError
from alexnet_cli.export.settings import ExportSettings, Format
from alexnet_cli.manifest import ExportPrecision, LrnForm

_, FP16, INT8 = ExportPrecision


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({}, "model.onnx"),
        ({"precision": FP16}, "model-fp16.onnx"),
        ({"precision": INT8, "num_views": 10}, "model-int8-10views.onnx"),
        ({"file_format": Format.ALL}, "model.safetensors model.onnx"),
        ({"file_format": Format.ALL, "precision": INT8}, "model.safetensors model-int8.onnx"),
        (
            {"shared_weights": True, "num_views": 10},
            "model-10views.safetensors model-10views-shared.onnx",
        ),
    ],
)
def test_files_are_named_after_what_is_special_about_them(settings, names):
    assert " ".join(ExportSettings(**settings).names) == names


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"precision": INT8, "file_format": Format.SAFETENSORS}, "--precision int8"),
        ({"precision": FP16, "shared_weights": True}, "--precision fp16"),
        ({"precision": FP16, "shared_weights": True, "file_format": Format.ALL}, "--precision"),
        ({"file_format": Format.SAFETENSORS, "shared_weights": True}, "--shared-weights"),
        ({"num_views": 5}, "5 views"),
        ({"opset": 7}, "--opset 7"),
        ({"lrn_form": LrnForm.NONE}, "normalisation"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, message):
    with pytest.raises(UsageError, match=message) as caught:
        ExportSettings(**settings).check()
    assert caught.value.hint
