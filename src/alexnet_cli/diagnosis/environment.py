"""The `ALEXNET_*` variables that are set: a misspelt one does nothing, and nobody says so."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from alexnet_cli.diagnosis.findings import Finding, Level

PREFIX = "ALEXNET_"


@dataclass(frozen=True)
class Variable:
    """A variable that is set, and whether a command reads it."""

    name: str
    value: str
    is_known: bool


def list_variables(environment: Mapping[str, str], known: Iterable[str]) -> list[Variable]:
    """Return the variables of this program that are set.

    Args:
        environment: Of the process.
        known: Names that a command reads.
    """
    names = frozenset(known)
    return [
        Variable(name, value, name in names)
        for name, value in sorted(environment.items())
        if name.startswith(PREFIX)
    ]


def variable_findings(variables: Iterable[Variable], known: Iterable[str]) -> list[Finding]:
    """Say which variables nothing reads, and what may have been meant."""
    findings, stems = [], sorted(name.removeprefix(PREFIX) for name in known)
    for variable in variables:
        if variable.is_known:
            continue
        # Without what all have in common, which would make any two names alike.
        near = difflib.get_close_matches(variable.name.removeprefix(PREFIX), stems, n=1)
        cause, repair = f"nothing reads {variable.name}", f"unset {variable.name}"
        if near:
            cause += f"; did you mean {PREFIX}{near[0]}?"
        findings.append(Finding(Level.BROKEN, "environment", cause, repair))
    return findings
