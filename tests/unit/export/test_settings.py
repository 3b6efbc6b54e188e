import pytest

from alexnet_cli.errors import UsageError
from alexnet_cli.export.settings import ExportSettings, Format
from alexnet_cli.manifest import ExportPrecision, LrnForm


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"precision": ExportPrecision.INT8, "file_format": Format.ALL}, "--precision int8"),
        ({"precision": ExportPrecision.FP16, "shared_weights": True}, "--precision fp16"),
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
