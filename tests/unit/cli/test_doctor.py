import json
import subprocess
import sys

import pytest


def test_the_report_names_what_is_wrong_and_fits(alexnet):
    result = alexnet("doctor", env={"ALEXNET_EPOCH": "3", "COLUMNS": "80"})
    assert result.returncode == 1
    assert "broken: environment: nothing reads ALEXNET_EPOCH" in result.stdout
    assert "  fix: unset ALEXNET_EPOCH\n" in result.stdout
    lines = [line for line in result.stdout.splitlines() if not line.startswith("  fix:")]
    assert max(map(len, lines)) <= 80
    assert lines == [line.rstrip() for line in lines]
    assert "took" in result.stderr


def test_json_and_the_exit_code_agree(alexnet):
    result = alexnet("doctor", "--json", "-q")
    document = json.loads(result.stdout)
    assert result.stderr == ""
    assert document["is_sound"] == (result.returncode == 0)
    assert document["trials"] is None
    assert document["versions"]["torch"]
    assert document["training"] in ("cpu", "cuda")
    levels = [finding["level"] for finding in document["findings"]]
    assert levels == sorted(levels)  # broken before note


@pytest.mark.slow
def test_deep_runs_a_network(alexnet):
    document = json.loads(alexnet("doctor", "--deep", "--json").stdout)
    assert {t["runtime"] for t in document["trials"]} == {"PyTorch", "ONNX Runtime"}
    assert all(t["error"] is None for t in document["trials"])
    on_cpu = [t for t in document["trials"] if t["device"] == "cpu"]
    assert all(0 < t["max_difference"] < 1e-5 for t in on_cpu)  # float32 against float64
    broken = [f["subject"] for f in document["findings"] if f["level"] == "broken"]
    assert not [subject for subject in broken if subject.endswith(" on cpu")]


def test_an_unusable_home_is_a_finding(alexnet):
    result = alexnet("doctor", env={"ALEXNET_HOME": "~nobody_at_all/x"})
    assert result.returncode == 1
    assert "broken: cache: ALEXNET_HOME names an unknown user" in result.stdout


def test_pytorch_stays_out():
    script = (
        "import sys\nfrom alexnet_cli.cli.main import run\n"
        "run(['doctor', '-q'])\nassert 'torch' not in sys.modules\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert "AssertionError" not in result.stderr
    assert "versions" in result.stdout
