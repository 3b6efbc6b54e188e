"""The readable files of a run folder: configuration, environment, metrics, model card."""

import contextlib
import csv
import dataclasses
import io
import json
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path

from alexnet_cli import __version__
from alexnet_cli.config.schema import TrainConfig
from alexnet_cli.config.sources import config_text
from alexnet_cli.data.folder import VAL, has_val
from alexnet_cli.devices import read_cpuinfo
from alexnet_cli.errors import AlexnetError, TrainingError
from alexnet_cli.export import model_card as card
from alexnet_cli.files import atomic_write, folder_identity, remove_partial_writes
from alexnet_cli.manifest import Manifest, data_title, without_folders
from alexnet_cli.run_folder import RunFolder
from alexnet_cli.training.checkpoint import EpochRow
from alexnet_cli.training.schedule import stops_early


def library_versions() -> dict[str, str]:
    """Return the versions that can change a result."""
    packages = ("torch", "torchvision", "numpy", "pillow")
    return {
        "alexnet-cli": __version__,
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in packages},
    }


def write_config(run: RunFolder, config: TrainConfig) -> None:
    """Write `config.toml`, which `--config` reads."""
    header = "# Repeat this run with: alexnet train --config config.toml\n"
    atomic_write(run.config, (header + config_text(config)).encode())


def write_environment(run: RunFolder, hardware: dict[str, str]) -> None:
    """Write `environment.json`: versions and hardware."""
    environment = {
        "command": ["alexnet", *sys.argv[1:]],
        "commit": commit(),
        "cpu": read_cpuinfo().get("model name", platform.machine()),
        "versions": library_versions(),
        "platform": platform.platform(),
        **hardware,
    }
    atomic_write(run.environment, json.dumps(environment, indent=1).encode())


def commit() -> str:
    """Return the commit of this program's checkout, or ""; `-changed` marks changed sources."""
    if not _git("ls-files", "--", __file__):  # installed, maybe inside another repository
        return ""
    head, package = _git("rev-parse", "HEAD"), str(Path(__file__).resolve().parents[1])
    changes = _git("status", "--porcelain", "--untracked-files=no", "--", package)
    return f"{head}-changed" if changes else head


def _git(*arguments: str) -> str:
    try:
        result = subprocess.run(  # noqa: S603 - fixed arguments
            ["git", *arguments],  # noqa: S607 - the one on the PATH
            cwd=Path(__file__).resolve().parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return result.stdout.strip()


def write_metrics(
    run: RunFolder,
    config: TrainConfig,
    history: Sequence[EpochRow],
    identical: Mapping[str, int | None] | None = None,
) -> None:
    """Write `metrics.csv`, one row an epoch, and `metrics.json`, the result.

    Without a completed epoch, delete them. `identical` counts the images that are in two splits, if
    it is known.
    """
    if not history:
        for path in (run.metrics_csv, run.metrics_json):
            path.unlink(missing_ok=True)
        return
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, [f.name for f in dataclasses.fields(EpochRow)])
    writer.writeheader()
    writer.writerows(dataclasses.asdict(row) for row in history)
    best = max(history, key=lambda row: row.val_top1)
    result = {
        "run": str(run.path),
        "epochs": len(history),
        "stopped_early": stops_early(config, [row.val_top1 for row in history]),
        "best_epoch": best.epoch,
        "best_val_top1": best.val_top1,
        "best_val_loss": best.val_loss,
        "images_per_second": history[-1].images_per_second,
        "seconds": sum(row.train_seconds + row.val_seconds for row in history),
        "identical_images": dict(identical) if identical else None,
    }
    atomic_write(run.metrics_csv, table.getvalue().encode())
    atomic_write(run.metrics_json, json.dumps(result, indent=1).encode())


def write_run_card(
    run: RunFolder,
    config: TrainConfig,
    manifest: Manifest,
    history: Sequence[EpochRow],
    identical: Mapping[str, int | None] | None = None,
) -> None:
    best = max(history, key=lambda row: row.val_top1)
    validation = (
        f"{manifest.provenance.val_size:,}, held out of the training set, seed {config.seed}"
    )
    if has_val(Path(config.data)):
        validation = f"those of {data_title(config.data)}{VAL}/"
    if num_trained := (identical or {}).get("val_in_train"):
        validation += f"; {num_trained:,} of them are also training images"
    origin = replace(manifest.provenance, epoch=best.epoch, val_top1=best.val_top1)
    epochs = f"{len(history)}"
    if len(history) < config.epochs:
        epochs += f" of {config.epochs}, stopped early (--stop-after {config.stop_after})"
    rows = f"| epochs | {epochs} |\n| validation images | {validation} |"
    path = without_folders(str(run.path))
    measure = card.code_span(f"alexnet evaluate {shlex.quote(path)}")
    repeat = card.code_span(f"alexnet train --config {shlex.quote(f'{path}/{run.config.name}')}")
    end = f"""The test set was not used. Measure on it with {measure}.
Repeat the run with {repeat}."""
    card.write_card(run.path, replace(manifest, provenance=origin), {}, trained=(rows, end))


def require_same_folder(run: RunFolder, identity: tuple[int, int] | None) -> None:
    """Check that the run folder is the one in which training began.

    `identity` is that of `folder_identity`; None if there was no folder then.

    Raises:
        TrainingError: It was moved, deleted or unmounted: files written since are incomplete.
    """
    if identity not in (None, folder_identity(run.path)):
        raise TrainingError(
            f"the run folder {run.path} was moved, deleted or unmounted during the training",
            hint="resume it where it is now: alexnet train --resume FOLDER",
            code="run_gone",
        )


@contextlib.contextmanager
def same_folder(run: RunFolder) -> Iterator[None]:
    """Check at the end, and where something cannot be written, whether the run folder is gone.

    Raises:
        TrainingError: It is.
    """
    identity = folder_identity(run.path)
    try:
        yield
    except AlexnetError:
        require_same_folder(run, identity)
        raise
    require_same_folder(run, identity)


def remove_partial_files(run: RunFolder) -> None:
    """Delete the half-written files of a killed process; the caller holds the lock of the run."""
    for path in (run.config, run.environment, run.metrics_csv, run.metrics_json, run.card):
        remove_partial_writes(path)
