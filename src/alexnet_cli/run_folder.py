"""Run folders: the files of a training run, and how later commands find a run or a model."""

import itertools
import json
import shlex
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alexnet_cli.console import note
from alexnet_cli.errors import AlexnetError, UsageError, did_you_mean
from alexnet_cli.files import cache_folder, decode_text, writing_error
from alexnet_cli.manifest import (
    EXPORT_VIEW_COUNTS,
    ONNX,
    SAFETENSORS,
    ExportPrecision,
    data_name,
    model_format,
)
from alexnet_cli.networks import PRETRAINED

RUNS_FOLDER = Path("runs")
NEWEST = Path("newest")  # on the command line: the run that was started last
SAVE_MINUTES = 10.0  # between checkpoints inside an epoch
SHARED_ONNX = "-shared.onnx"  # the end of a name


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
    images = _PathOf("images.npz")  # hash of each image, and whether it was trained on
    metrics_csv = _PathOf("metrics.csv")  # one row per epoch
    metrics_json = _PathOf("metrics.json")  # result of the run
    test_result = _PathOf("test.json")  # of the last `alexnet evaluate` on its test set
    checkpoints = _PathOf("checkpoints")  # folders `step-N`
    set_aside = _PathOf("set-aside")  # checkpoints after the one that the run was resumed from
    report = _PathOf("report.html")
    metrics_plot = _PathOf("metrics.png")  # loss, accuracy, learning rate and speed by epoch
    confusion_plot = _PathOf("confusion.png")
    filters_plot = _PathOf("filters.png")  # weights of the first layer
    card = _PathOf("README.md")  # model card

    @property
    def resume_command(self) -> str:
        return f"alexnet train --resume {shlex.quote(str(self.path))}"

    def read_settings(self) -> dict[str, Any]:
        """Return the settings in `config.toml`.

        Raises:
            AlexnetError: It is missing or damaged.
        """
        try:
            return tomllib.loads(decode_text(self.config.read_bytes()))
        except (OSError, ValueError) as error:
            command = f"rm {shlex.quote(str(self.config))}"
            raise AlexnetError(
                f"{self.config} cannot be read ({error})",
                hint=f"without it, resuming the run writes it again: {command}",
                code="run_damaged",
            ) from error

    def has_checkpoint(self) -> bool:
        """Return True if the run has saved at least once."""
        return any(self.checkpoints.glob("step-*/state.json"))


def create_run(name: str, *, parent: Path = RUNS_FOLDER) -> RunFolder:
    """Create the folder of `next_run`: that reserves its name, so runs started at once differ."""
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
    configs = [path for path in parent.glob("*/config.toml") if path.is_file()]
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
        try:
            if run.has_checkpoint() and line in run.config.read_text(encoding="utf-8"):
                return run
        except (OSError, UnicodeDecodeError) as error:
            note(f"{run.path} is passed over: its config.toml cannot be read ({error})")
    raise no_run_error(parent)


def no_run_error(parent: Path) -> AlexnetError:
    return AlexnetError(
        f"no run found in {parent}", hint="train one with: alexnet train", code="no_run"
    )


def suggest_run(path: Path, *, hint: str) -> str:
    """Return a hint, after the question for the run whose name is nearest to a mistyped path."""
    return did_you_mean(str(path), [str(run.path) for run in list_runs()], hint=hint)


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


def export_name(
    end: str = ONNX, precision: ExportPrecision = ExportPrecision.FP32, num_views: int = 1
) -> str:
    """Return the name of an exported file: `model.onnx`, `model-int8-10views.onnx` and so on."""
    precisions = [] if precision is ExportPrecision.FP32 else [precision]
    views = [] if num_views == 1 else [f"{num_views}views"]
    return "-".join(["model", *precisions, *views]) + end


SAFETENSORS_NAME = export_name(SAFETENSORS)


def list_exports(folder: Path, precision: ExportPrecision | None = None) -> list[Path]:
    """Return the exported files of a folder, of all precisions or of one.

    The first is the one to use by default: float32 before fp16 and int8, one view before ten, ONNX
    before safetensors.
    """
    names = [
        export_name(end, each, num_views)
        for each in ([precision] if precision else ExportPrecision)
        for num_views in EXPORT_VIEW_COUNTS
        for end in (ONNX, SHARED_ONNX, SAFETENSORS)
    ]
    return [folder / name for name in names if (folder / name).is_file()]


def weights_beside(onnx_file: Path) -> Path | None:
    """Return the float32 weights in the folder of an exported ONNX file, if there are any."""
    paths = (onnx_file.with_suffix(SAFETENSORS), onnx_file.with_name(SAFETENSORS_NAME))
    return next((path for path in paths if path.is_file()), None)


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


def model_file(
    path: Path | None, precision: ExportPrecision | None = None, *, data: str | None = None
) -> Path:
    """Return an exported file: the one named, or that of a run, or that of downloaded weights.

    Args:
        path: A file, a run folder or a name of downloaded weights; the newest run by default.
        precision: Which of a run's files; by default float32, or what there is.
        data: Without a path, consider only runs on this dataset.

    Raises:
        AlexnetError: There is no such model, the run has not been exported, or the weights are not
            downloaded.
    """
    path = named_model(path) if path else newest_run(data=data).path
    if not path.exists() and not model_format(path):
        names = f"a run in {RUNS_FOLDER}/, an exported file, or one of: {', '.join(PRETRAINED)}"
        raise AlexnetError(
            f"no such model: {path}",
            hint=suggest_run(path, hint=f"name {names}"),
            code="model_missing",
        )
    if path.is_dir():
        return exported_model(RunFolder(path), precision)
    if precision:
        raise UsageError(
            f"--precision {precision} chooses a file of a run, and {path} is not a run folder",
            hint="leave --precision out; a file has one precision",
        )
    return path


def exported_model(run: RunFolder, precision: ExportPrecision | None = None) -> Path:
    """Return a run's exported file, see `list_exports`.

    Raises:
        AlexnetError: It has not been exported, or not in this precision.
    """
    exports = list_exports(run.path, precision)
    if exports:
        return exports[0]
    if not run.checkpoints.is_dir() and not list_exports(run.path):
        raise AlexnetError(
            f"{run.path} is not a run folder and has no {export_name()} or {SAFETENSORS_NAME}",
            hint=f"pass a model file, as {RUNS_FOLDER}/RUN/{export_name()}, or a run in "
            f"{RUNS_FOLDER}/",
            code="not_a_run",
        )
    wanted = f"--precision {precision}" if precision else f"--format {ONNX[1:]}"
    raise AlexnetError(
        f"the run {run.path} has no exported model{f' in {precision}' if precision else ''}",
        hint=f"export it with: alexnet export {shlex.quote(str(run.path))} {wanted}",
        code="not_exported",
    )
