"""Run folders: the files of a training run, and how later commands find a run or a model."""

import itertools
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alexnet_cli.errors import AlexnetError, UsageError
from alexnet_cli.files import cache_folder, writing_error
from alexnet_cli.manifest import data_name
from alexnet_cli.networks import PRETRAINED

RUNS_FOLDER = Path("runs")
NEWEST = Path("newest")  # on the command line: the run that was started last
SAVE_MINUTES = 10.0  # between checkpoints inside an epoch
ONNX_NAME, SAFETENSORS_NAME = "model.onnx", "model.safetensors"


class _PathOf:
    """An attribute: the path of a named file in a run folder."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, run: "RunFolder", _owner: type["RunFolder"]) -> Path:
        return run.path / self._name


@dataclass(frozen=True)
class RunFolder:
    """The folder of one training run, and the paths of its files."""

    path: Path

    config = _PathOf("config.toml")  # resolved configuration; `--config` with it repeats the run
    environment = _PathOf("environment.json")  # versions and hardware
    metrics_csv = _PathOf("metrics.csv")  # one row per epoch
    metrics_json = _PathOf("metrics.json")  # result of the run
    test_result = _PathOf("test.json")  # of the last `alexnet evaluate` on its test set
    checkpoints = _PathOf("checkpoints")  # folders `step-N`
    report = _PathOf("report.html")
    metrics_plot = _PathOf("metrics.png")  # loss, accuracy, learning rate and speed by epoch
    confusion_plot = _PathOf("confusion.png")
    filters_plot = _PathOf("filters.png")  # weights of the first layer
    card = _PathOf("README.md")  # model card
    onnx = _PathOf(ONNX_NAME)
    safetensors = _PathOf(SAFETENSORS_NAME)

    @property
    def resume_command(self) -> str:
        return f"alexnet train --resume {shlex.quote(str(self.path))}"

    def has_checkpoint(self) -> bool:
        """Return True if the run has saved at least once."""
        return any(self.checkpoints.glob("step-*/state.json"))


def create_run(name: str, *, parent: Path = RUNS_FOLDER) -> RunFolder:
    """Create the folder of `next_run`, which reserves its name: runs started at once differ."""
    while True:
        path = next_run(name, parent=parent)
        try:
            parent.mkdir(parents=True, exist_ok=True)
            path.mkdir()
        except OSError as error:
            if path.exists():
                continue
            raise writing_error(path, error) from error
        return RunFolder(path)


def next_run(name: str, *, parent: Path = RUNS_FOLDER) -> Path:
    """Return `parent/name`, or the first free of `name-2`, `name-3` and so on."""
    if (
        name in ("", ".", "..")
        or name != Path(name).name
        or not name.isprintable()
        or len(name) > 200
    ):
        raise UsageError(f"{name!r} cannot be the name of a folder", hint="choose another --name")
    numbered = (f"{name}-{number}" for number in itertools.count(2))
    return next(
        parent / each for each in itertools.chain([name], numbered) if not (parent / each).exists()
    )


def list_runs(parent: Path = RUNS_FOLDER) -> list[RunFolder]:
    """Return the runs of a folder, the one that was started last first."""
    configs = list(parent.glob("*/config.toml"))
    configs.sort(key=lambda path: (path.stat().st_mtime_ns, path.parent.name), reverse=True)
    return [RunFolder(config.parent) for config in configs]


def newest_run(parent: Path = RUNS_FOLDER, *, data: str | None = None) -> RunFolder:
    """Return the run that was started last, of those that have a checkpoint.

    With `data`, a name or a folder, only runs trained on that dataset count.

    Raises:
        AlexnetError: There is no such run.
    """
    # A JSON string is a TOML string.
    line = f"\ndata = {json.dumps(data_name(data), ensure_ascii=False)}\n" if data else ""
    for run in list_runs(parent):
        if run.has_checkpoint() and line in run.config.read_text():
            return run
    raise no_run_error(parent)


def no_run_error(parent: Path) -> AlexnetError:
    return AlexnetError(
        f"no run found in {parent}", hint="train one with: alexnet train", code="no_run"
    )


def differing_entries(documents: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return the entries in which documents differ, a value for each; None where one has none."""
    names = dict.fromkeys(name for document in documents for name in document)
    rows = {name: [document.get(name) for document in documents] for name in names}
    return {name: row for name, row in rows.items() if any(value != row[0] for value in row)}


def find_run_of(path: Path) -> RunFolder | None:
    """Return the run that a run folder, a checkpoint or an exported file belongs to."""
    path = path.absolute()
    for folder in (path, *list(path.parents)[:2]):  # RUN/model.onnx, RUN/checkpoints/step-1
        run = RunFolder(folder)
        if run.config.is_file() and run.checkpoints.is_dir():
            return run
    return None


def pretrained_folder(name: str) -> Path:
    """Return the folder of downloaded weights; it need not exist."""
    return cache_folder() / "weights" / PRETRAINED[name]


def pretrained_model(name: str) -> Path:
    """Return the model file of downloaded weights.

    Raises:
        AlexnetError: They are not downloaded.
    """
    path = pretrained_folder(name) / SAFETENSORS_NAME
    if not path.is_file():
        raise AlexnetError(
            f"the weights {name} are not in {path.parent}",
            hint=f"download them with: alexnet download --weights {name}",
            code="weights_missing",
        )
    return path


def named_model(path: Path) -> Path:
    """Return the file of downloaded weights for their name; any other path unchanged."""
    return pretrained_model(str(path)) if str(path) in PRETRAINED else path


def model_file(path: Path) -> Path:
    """Return the file of an exported model: a file, that of a run, or that of downloaded weights.

    Raises:
        AlexnetError: The run has not been exported, or the weights are not downloaded.
    """
    path = named_model(path)
    return exported_model(RunFolder(path)) if path.is_dir() else path


def exported_model(run: RunFolder) -> Path:
    """Return a run's exported model, ONNX before safetensors.

    Raises:
        AlexnetError: It has not been exported.
    """
    for path in (run.onnx, run.safetensors):
        if path.is_file():
            return path
    if not run.checkpoints.is_dir():
        raise AlexnetError(
            f"{run.path} is not a run folder and has no {ONNX_NAME} or {SAFETENSORS_NAME}",
            hint=f"pass a model file, as {RUNS_FOLDER}/RUN/{ONNX_NAME}, or a run in {RUNS_FOLDER}/",
            code="not_a_run",
        )
    raise AlexnetError(
        f"the run {run.path} has no exported model",
        hint=f"export it with: alexnet export {shlex.quote(str(run.path))} --format onnx",
        code="not_exported",
    )
