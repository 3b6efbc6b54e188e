"""Results as they would come from runs, made by hand."""

from alexnet_cli.reproduce.result import FinishedRun, TestResult

PROVENANCE = {
    "commit": "c0ffee" * 6, "date": "2026-01-01T00:00:00+00:00", "cpu": "A processor",
    "device": "cpu (1 threads)", "precision": "float32", "lrn": "compiled C", "platform": "here",
    "images": "45,000 to train on", "versions": {"torch": "2"}, "runs_at_once": 2,
}  # fmt: skip


def finished(arm, seed, *, epochs=None, error=None, views=1, sha="", rate=0.01, log=()):
    """A run that reached 25 % training error after so many epochs, or errs on so many images."""
    tests = ()
    if error is not None:
        tests = (TestResult(views, 1 - error, (1 - error - 0.01, 1 - error + 0.01), 10_000),)
    return FinishedRun(
        arm, seed, sha or f"{arm}-{seed}-{rate}", "alexnet train", rate, 3, 60.0, epochs, tests,
        PROVENANCE, log or ((1.0, rate, 2.0, 0.5, 2.0, 0.5, 10.0, 1.0),),
    )  # fmt: skip
