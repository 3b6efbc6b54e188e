from alexnet_cli.config.sources import list_variables
from alexnet_cli.doctor.diagnose import variable_findings
from alexnet_cli.doctor.machine import Level

_KNOWN = ["ALEXNET_EPOCHS", "ALEXNET_HOME"]


def test_only_what_nothing_reads_is_told():
    environment = {"ALEXNET_HOME": "/a", "ALEXNET_EPOCH": "3", "ALEXNET_Q": "", "HOME": "/"}
    variables = list_variables(environment, _KNOWN)
    assert [(v.name, v.is_known) for v in variables] == [
        ("ALEXNET_EPOCH", False), ("ALEXNET_HOME", True), ("ALEXNET_Q", False),
    ]  # fmt: skip
    near, far = variable_findings(variables, _KNOWN)
    assert near.cause == "nothing reads ALEXNET_EPOCH; did you mean ALEXNET_EPOCHS?"
    assert (near.level, near.fix) == (Level.BROKEN, "unset ALEXNET_EPOCH")
    assert far.cause == "nothing reads ALEXNET_Q"
