"""The quick reading of `predict`'s arguments is Typer's, or none."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.main import get_command

from alexnet_cli.cli.app import CONTEXT_SETTINGS, build_app
from alexnet_cli.cli.predict_request import DEFAULTS, PredictRequest, parse_simple

COMMAND = get_command(build_app(only="predict")).commands["predict"]


def as_typer_reads(arguments):
    values = COMMAND.make_context("predict", list(arguments), **CONTEXT_SETTINGS).params
    return PredictRequest(**{**values, "images": tuple(values["images"] or ())})


def test_the_request_has_the_names_and_defaults_of_the_flags():
    assert as_typer_reads([]) == DEFAULTS == parse_simple([])
    assert {p.name for p in COMMAND.params} - {"help"} == {
        field.name for field in dataclasses.fields(PredictRequest)
    }


@pytest.mark.parametrize(
    "arguments",
    [
        ["a.png"],
        ["a.png", "-", "b c.png", "ü.png"],
        ["a.png", "--top-k", "3", "--json"],
        ["--top_k=3", "a.png", "-q", "-v", "--csv"],
        ["a.png", "-m", "runs/x", "-k", "2", "-b", "7", "--batch_size", "9"],
        ["--threshold=0.5", "--threshold", "1", "--copy_to", "out", "--device=cpu"],
        ["--files-from", "-", "--data", "shapes"],
        ["--files_from=list", "--model=m.onnx"],
        ["a.png", "--threshold", "1e-3"],
        ["a.png", "--precision", "int8", "--precision=fp16"],
        ["a.png", "--json", "--json"],
        ["--data="],
    ],
)
def test_what_is_plain_is_read_as_typer_reads_it(arguments):
    assert parse_simple(arguments) == as_typer_reads(arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"], ["-h"], ["--frob"], ["-x"], ["a.png", "--top-k"], ["-k3"], ["-qv"], ["--"],
        ["--top-k", "0"], ["--top-k", "-1"], ["--top-k", "²"], ["--top-k", "x"], ["--json=1"],
        ["--threshold", "1.5"], ["--threshold", "nan"], ["--threshold", "x"], ["--model", "-m"],
        ["--images", "x"], ["--batch-size", "70000"], ["--top-k="], ["---json"], ["--no-json"],
        ["--precision", "int4"],
    ],
)  # fmt: skip
def test_what_is_not_is_left_to_typer(arguments):
    assert parse_simple(arguments) is None


def test_the_environment_counts(monkeypatch):
    monkeypatch.setenv("ALEXNET_DEVICE", "cuda:1")
    for arguments in ([], ["--device", "cpu"]):
        assert parse_simple(arguments) == as_typer_reads(arguments)


_WORDS = st.sampled_from(
    ["a.png", "-", "--json", "-q", "-v", "--csv", "-k", "--top_k", "--top-k=4", "3", "0.5", "-m",
     "--threshold", "--files-from", "--device", "--batch-size=1", "--copy-to=x", "--", "", "=",
     "-b"]
) | st.text("-=_ak1. ", max_size=6)  # fmt: skip


@settings(max_examples=300)
@given(st.lists(_WORDS, max_size=6))
def test_any_arguments_are_read_as_typer_reads_them_or_not_at_all(arguments):
    found = parse_simple(arguments)
    if found is not None:
        assert found == as_typer_reads(arguments)
