"""A run in a few words and numbers."""

import shlex
from typing import TYPE_CHECKING

from alexnet_cli.models.explain import layer_table
from alexnet_cli.report.curves import best_of
from alexnet_cli.report.record import RunRecord

if TYPE_CHECKING:
    from alexnet_cli.report.views import Examined


def commands(record: RunRecord) -> list[str]:
    """Return what trains, measures and reports it again."""
    path = str(record.run.path)
    began = record.environment.get("command")
    return [
        *([shlex.join(began)] if began else []),
        shlex.join(["alexnet", "train", "--config", str(record.run.config)]),
        shlex.join(["alexnet", "evaluate", path, "--split", "val"]),
        shlex.join(["alexnet", "report", path]),
    ]


def headline(examined: "Examined") -> list[tuple[str, str]]:
    """Return what to know of a run first, as names and values."""
    record, summary = examined.record, examined.examination.summary
    history, best = record.history, best_of(record.history)
    low, high = summary.top1_interval
    done, planned = len(history), record.num_epochs_planned
    environment = record.best.environment
    num_parameters = sum(row.num_parameters for row in layer_table(record.manifest.network))
    return [
        ("best validation top-1",
         f"{summary.top1:.2%} (95 %: {low:.2%} to {high:.2%}) of {summary.num_images:,} images"),
        ("network", f"{record.manifest.network.name}, {num_parameters:,} parameters"),
        ("data", f"{record.manifest.provenance.data}: {len(examined.train):,} images to train on, "
                 f"{len(examined.classes):,} classes"),
        ("epochs", f"{done} of {planned}: not finished" if done < planned else f"{done}"),
        ("best epoch", f"{best.epoch}, {best.val_top1:.2%} when it was trained "
                       f"({environment.get('precision', 'precision not recorded')})"),
        ("time", duration(record.seconds)),
        ("speed", f"{history[-1].images_per_second:,.0f} images/s in the last epoch"),
        ("hardware", environment.get("device", "not recorded")),
    ]  # fmt: skip


def duration(seconds: float) -> str:
    """Say how long something took."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
