import math

from alexnet_cli.doctor.machine import Level
from alexnet_cli.doctor.trial import Trial, run_trials, trial_findings


def test_a_missing_device_is_a_failed_trial():
    trials = list(run_trials(["cuda:99"], ["cuda:99"]))
    assert all(t.error is not None and "cuda:99" in t.error for t in trials)
    found = trial_findings(trials)
    assert [f.subject for f in found] == ["PyTorch on cuda:99", "ONNX Runtime on cuda:99"]
    assert all(f.level is Level.BROKEN and "pip install" in f.fix for f in found)


def test_wrong_logits_are_broken_and_a_slow_kernel_is_a_note():
    good = Trial("PyTorch", "cpu", 1, 1, 1e-6, "LRN: convolution (no C compiler)")
    wrong, not_a_number = (Trial("PyTorch", "cpu", 1, 1, d) for d in (0.1, math.nan))
    assert [f.level for f in trial_findings([good, wrong, not_a_number])] == [
        Level.NOTE, Level.BROKEN, Level.BROKEN,
    ]  # fmt: skip
