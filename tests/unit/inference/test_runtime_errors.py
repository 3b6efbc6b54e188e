import pytest

from alexnet_cli.inference.providers import runtime_message

CODE = "[ONNXRuntimeError] : 1 : FAIL : "


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (
            f"{CODE}Load model from x.onnx failed:/onnxruntime_src/core/a-b/model.cc:149 "
            "onnxruntime::Model::Model(onnx::ModelProto&&, const P&) Unknown format (9).\nmore",
            "Load model from x.onnx failed: Unknown format (9)",
        ),
        (
            "/onnxruntime_src/core/session/provider_bridge.cc:2195 onnxruntime::Provider& "
            f"onnxruntime::ProviderLibrary::Get() {CODE}Failed to load library x.so",
            "Failed to load library x.so",
        ),
        ("", "RuntimeError"),
    ],
    ids=["model", "provider", "wordless"],
)
def test_codes_and_places_in_the_source_are_left_out(told, words):
    assert runtime_message(RuntimeError(told)) == words


def test_a_long_line_is_cut():
    assert len(runtime_message(RuntimeError("word " * 100))) <= 200
