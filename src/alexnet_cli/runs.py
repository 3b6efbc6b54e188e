"""Run folders: where a training run keeps its files, and how a later command finds them."""

import itertools
import json
import shlex
from dataclasses import dataclass
from pathlib import Path

from alexnet_cli.errors import AlexnetError, UsageError
from alexnet_cli.files import cache_folder, writing_error
from alexnet_cli.manifest import data_name
from alexnet_cli.networks import PRETRAINED

RUNS_FOLDER = Path("runs")
NEWEST = Path("newest")  # on the command line: the run that was started last
SAVE_MINUTES = 10.0  # between checkpoints inside an epoch
ONNX_NAME, SAFETENSORS_NAME = "model.onnx", "model.safetensors"


@dataclass(frozen=True)
class RunFolder:
    """The files of one training run, by name."""

    path: Path

    @property
    def config(self) -> Path:
        """The effective configuration; feed it back with `--config` to repeat the run."""
        return self.path / "config.toml"

    @property
    def environment(self) -> Path:
        """Versions and hardware, as JSON."""
        return self.path / "environment.json"

    @property
    def metrics_csv(self) -> Path:
        """One row an epoch."""
        return self.path / "metrics.csv"

    @property
    def metrics_json(self) -> Path:
        """The result of the run, as JSON."""
        return self.path / "metrics.json"

    @property
    def checkpoints(self) -> Path:
        """`step-N` folders, `best` among them."""
        return self.path / "checkpoints"

    @property
    def resume_command(self) -> str:
        """The command that resumes the run."""
        return f"alexnet train --resume {shlex.quote(str(self.path))}"

    def has_checkpoint(self) -> bool:
        """Return whether the run has saved a checkpoint."""
        return any(self.checkpoints.glob("step-*/state.json"))

    @property
    def report(self) -> Path:
        """Where `report` writes its page by default."""
        return self.path / "report.html"

    @property
    def metrics_plot(self) -> Path:
        """Loss, accuracy, rate and speed by epoch."""
        return self.path / "metrics.png"

    @property
    def confusion_plot(self) -> Path:
        """Which classes are taken for which."""
        return self.path / "confusion.png"

    @property
    def filters_plot(self) -> Path:
        """The first layer's weights."""
        return self.path / "filters.png"

    @property
    def card(self) -> Path:
        """The model card."""
        return self.path / "README.md"

    @property
    def onnx(self) -> Path:
        """Where `export --format onnx` writes by default."""
        return self.path / ONNX_NAME

    @property
    def safetensors(self) -> Path:
        """Where `export --format safetensors` writes by default."""
        return self.path / SAFETENSORS_NAME


def resume_command(path: Path) -> str:
    """Return the command that resumes a run, of its folder or of one of its checkpoints."""
    return f"alexnet train --resume {shlex.quote(str(path))}"


def create_run(name: str, *, parent: Path = RUNS_FOLDER) -> RunFolder:
    """Create `parent/name`, or the first free of `name-2`, `name-3` and so on.

    Creating the folder is the claim on its name, so two runs started at once never share one.
    """
    if (
        name in ("", ".", "..")
        or name != Path(name).name
        or not name.isprintable()
        or len(name) > 200
    ):
        raise UsageError(f"{name!r} cannot be the name of a folder", hint="choose another --name")
    for number in itertools.count(1):
        path = parent / (name if number == 1 else f"{name}-{number}")
        try:
            parent.mkdir(parents=True, exist_ok=True)
            path.mkdir()
        except OSError as error:
            if path.exists():
                continue
            raise writing_error(path, error) from error
        return RunFolder(path)
    raise AssertionError("counting never ends")


def newest_run(parent: Path = RUNS_FOLDER, *, data: str | None = None) -> RunFolder:
    """Return the run that was started last, of those that have a checkpoint.

    Args:
        parent: Where the run folders are.
        data: Only runs trained on this dataset, a name or a folder.

    Raises:
        AlexnetError: There is none.
    """
    # A JSON string is a TOML string.
    line = f"\ndata = {json.dumps(data_name(data), ensure_ascii=False)}\n" if data else ""
    started = [
        (config.stat().st_mtime_ns, config.parent.name)
        for config in parent.glob("*/config.toml")
        if RunFolder(config.parent).has_checkpoint() and line in config.read_text()
    ]
    if not started:
        raise AlexnetError(
            f"no run found in {parent}",
            hint="train one with: alexnet train",
            code="no_run",
        )
    return RunFolder(parent / max(started)[1])


def pretrained_folder(name: str) -> Path:
    """Return where downloaded weights are kept, whether they are there or not."""
    return cache_folder() / "weights" / PRETRAINED[name]


def pretrained_model(name: str) -> Path:
    """Return the model file of downloaded weights.

    Raises:
        AlexnetError: They were not downloaded yet.
    """
    path = pretrained_folder(name) / SAFETENSORS_NAME
    if not path.is_file():
        raise AlexnetError(
            f"the weights {name} are not in {path.parent}",
            hint=f"fetch them with: alexnet download --weights {name}",
            code="weights_missing",
        )
    return path


def named_model(path: Path) -> Path:
    """Return the file of downloaded weights that are called by name; any other path as it is."""
    return pretrained_model(str(path)) if str(path) in PRETRAINED else path


def exported_model(run: RunFolder) -> Path:
    """Return a run's exported model, ONNX before safetensors.

    Raises:
        AlexnetError: It was not exported yet.
    """
    for path in (run.onnx, run.safetensors):
        if path.is_file():
            return path
    if not run.checkpoints.is_dir():
        raise AlexnetError(
            f"{run.path} is not a run folder, and holds no {ONNX_NAME} or {SAFETENSORS_NAME}",
            hint=f"name a model file, as {RUNS_FOLDER}/RUN/{ONNX_NAME}, or a run in {RUNS_FOLDER}/",
            code="not_a_run",
        )
    raise AlexnetError(
        f"the run {run.path} has no exported model",
        hint=f"export it with: alexnet export {shlex.quote(str(run.path))} --format onnx",
        code="not_exported",
    )
