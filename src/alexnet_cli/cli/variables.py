"""The environment variables that commands read."""

import os

from alexnet_cli.cli.console import note
from alexnet_cli.config import TrainConfig
from alexnet_cli.diagnosis.environment import PREFIX, list_variables, variable_findings

VARIABLES = {
    "ALEXNET_HOME": "Cache folder: datasets, weights, compiled kernels.",
    "ALEXNET_DEVICE": "Default of --device.",
    "ALEXNET_MIRROR": "Addresses for download to ask first, separated by spaces.",
    "ALEXNET_OFFLINE": "1: download never reaches for the network.",
    "ALEXNET_PLOTS": "0: train draws no plots at its end.",
    "ALEXNET_DEBUG": "1: errors keep their traceback.",
}
_FOR_TESTS = (
    "ALEXNET_TEST_BROWSER", "ALEXNET_TEST_CIFAR10", "ALEXNET_TEST_FAULTS",
)  # fmt: skip


def variable_of(field: str) -> str:
    """Return the variable that sets a field of the configuration."""
    return f"{PREFIX}{field.upper()}"


def known_variables() -> list[str]:
    """Return the variables that something reads."""
    return [*VARIABLES, *map(variable_of, TrainConfig.model_fields), *_FOR_TESTS]


def warn_of_unknown_variables() -> None:
    """Say which variables nothing reads: `ALEXNET_EPOCH=3` would go unnoticed."""
    if os.environ.get("RANK", "0") != "0":
        return  # the first of several processes has said it
    known = known_variables()
    for finding in variable_findings(list_variables(os.environ, known), known):
        note(f"warning: {finding.cause}")
