"""The result file of an experiment, and who may write it."""

import contextlib
import dataclasses
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import ValidationError

from alexnet_cli.errors import AlexnetError, TrainingError
from alexnet_cli.files import atomic_write, writing_error
from alexnet_cli.paper.experiments import find_experiment
from alexnet_cli.paper.plan import is_shortened, plan_search, plan_seeds
from alexnet_cli.paper.result import LOG_COLUMNS, Result
from alexnet_cli.paper.tables import Judged, judged

KIND, SCHEMA_VERSION = "reproduction", 1


def to_document(result: Result) -> dict[str, Any]:
    """Return a result as plain data, the verdicts with it."""
    experiment = find_experiment(result.experiment)
    return {
        "kind": KIND,
        "schema_version": SCHEMA_VERSION,
        "command": result.command,
        "is_trial": result.terms.is_trial,
        **result.model_dump(mode="json"),
        "claims": [
            {
                **_claim_document(each),
                "is_shortened": is_shortened(experiment, each.claim, result.terms),
            }
            for each in judged(experiment, result)
        ],
        "log_columns": LOG_COLUMNS,
    }


def _claim_document(each: Judged) -> dict[str, Any]:
    claim = each.claim
    return {
        "claim": claim.text,
        "published": claim.published,
        "form": claim.form,
        "sides": [f"{side.arm}: {side.measure}" for side in claim.sides],
        "holds_from": _finite(claim.region[0]),
        "holds_to": _finite(claim.region[1]),
        **dataclasses.asdict(each.estimate),
        "verdict": each.verdict,
    }


def _finite(limit: float) -> float | None:
    return None if abs(limit) == float("inf") else limit


def write_result(path: Path, result: Result) -> None:
    """Write the result file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(to_document(result), indent=1)
    lines = re.sub(r"\[\s+([^][{}\"]+?)\s+\]", lambda found: f"[{_on_one_line(found[1])}]", text)
    atomic_write(path, (lines + "\n").encode())


def _on_one_line(numbers: str) -> str:
    return re.sub(r"\s+", " ", numbers)


@contextlib.contextmanager
def alone_in(output: Path) -> Iterator[None]:
    """Keep other processes from carrying out experiments in a folder, which share runs.

    Raises:
        TrainingError: Another one is at it.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        lock = FileLock(output / ".lock", timeout=0).acquire()
    except Timeout as error:
        raise TrainingError(
            f"another process is carrying out experiments in {output}",
            hint="wait for it, or work elsewhere: --output FOLDER",
            code="run_busy",
        ) from error
    except OSError as error:
        raise writing_error(output, error) from error
    with lock:
        yield


def read_result(path: Path) -> Result:
    """Read a result file. What is derived from the runs is not taken from it.

    Raises:
        AlexnetError: It is none, damaged, or of another version's experiment.
    """
    try:
        document = json.loads(path.read_bytes())
        _require_kind(document)
        result = Result.model_validate(document)
    except OSError as error:
        raise AlexnetError(
            f"{path} cannot be read: {error.strerror}",
            hint="make one with: alexnet reproduce NAME",
            code="result_missing",
        ) from error
    except (ValueError, RecursionError) as error:  # pydantic's and JSON's are ValueErrors
        raise AlexnetError(
            f"{path} is not a result of alexnet reproduce, or damaged ({_first_line(error)})",
            hint="move it away; the run folders beside it are used again",
            code="result_damaged",
        ) from error
    _require_planned(path, result)
    return result


def _require_planned(path: Path, result: Result) -> None:
    """Refuse runs of other settings than the experiment's: no claim is about them."""
    experiment = find_experiment(result.experiment)
    planned = [
        *plan_search(experiment, result.terms),
        *plan_seeds(experiment, result.terms, result.rates),
    ]
    known = {(run.arm, run.key) for run in planned}
    others = [run for run in result.all_runs if (run.arm, run.key) not in known]
    if others:
        raise AlexnetError(
            f"{path} has {len(others)} runs of other settings than this version's {experiment.name}"
            f", as: {others[0].command}",
            hint=f"keep it elsewhere: mv {shlex.quote(str(path))} {shlex.quote(f'{path}.old')}",
            code="result_differs",
        )


def _require_kind(document: Any) -> None:
    if not isinstance(document, dict) or document.get("kind") != KIND:
        raise ValueError(f"it is not of the kind {KIND}")
    if document.get("schema_version") != SCHEMA_VERSION:
        raise ValueError(f"it has schema {document.get('schema_version')!r}, not {SCHEMA_VERSION}")


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return str(error).partition("\n")[0]
