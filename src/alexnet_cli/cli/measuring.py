"""Measuring opened models on images, with a bar on a terminal."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from alexnet_cli.cli.console import note, printable, stderr_console

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.progress import Progress

    from alexnet_cli.cli.model_source import OpenedModel
    from alexnet_cli.data.arrays import ImageSource
    from alexnet_cli.data.corruption import Corruption
    from alexnet_cli.evaluation.comparison import Comparison
    from alexnet_cli.evaluation.evaluate import Evaluation


@dataclass(frozen=True)
class Measured:
    """A model and its answers.

    Attributes:
        name: What the user calls it.
        path: What it was read from.
        probabilities_NK: Float64, shape (N, K).
        result: The figures.
    """

    name: str
    path: str
    probabilities_NK: "NDArray[np.float64]"
    result: "Evaluation"


def measure(
    opened: "OpenedModel",
    source: "ImageSource",
    *,
    name: str = "",
    num_views: int | None = None,
    batch_size: int = 500,
    quiet: bool = False,
) -> Measured:
    """Evaluate a model on images, with a bar on a terminal.

    Args:
        opened: The model.
        source: The images, corrupted if they shall be.
        name: What the user calls the model; its path by default.
        num_views: Crops averaged per image; by default, what the model makes itself.
        batch_size: Images per run of the model.
        quiet: Whether there is no bar.
    """
    from alexnet_cli.evaluation.evaluate import predict_probabilities, summarise

    manifest, num_views = opened.manifest, num_views or opened.manifest.num_views
    path = str(opened.path)
    with _bar(len(source), name or path, quiet=quiet) as progress:
        probabilities_NK = predict_probabilities(
            opened.logits,
            source,
            spec=manifest.input,
            num_views=num_views,
            makes_views=manifest.num_views > 1,
            batch_size=batch_size,
            on_batch=lambda count: progress.advance(progress.task_ids[0], count),
        )
    result = summarise(
        probabilities_NK, source.labels_N, classes=manifest.classes, num_views=num_views
    )
    if result.num_unanswered:
        note(
            f"{opened.path} has no number for an answer to {result.num_unanswered:,} of "
            f"{result.num_images:,} images (NaN): they count as wrong"
        )
    return Measured(name or path, path, probabilities_NK, result)


def measure_corrupted(
    opened: "OpenedModel",
    source: "ImageSource",
    corruption: "Corruption | None",
    *,
    num_views: int,
    batch_size: int,
    quiet: bool,
) -> "Evaluation":
    """Evaluate a model on images that are corrupted first, or are as they are."""
    from alexnet_cli.data.corruption import corrupted

    return measure(
        opened,
        corrupted(source, corruption),
        num_views=num_views,
        batch_size=batch_size,
        quiet=quiet,
    ).result


def compare_with_first(
    measured: Sequence[Measured], labels_N: "NDArray[np.int64]"
) -> "list[Comparison]":
    """Compare the first model with each of the others."""
    from alexnet_cli.evaluation.comparison import compare
    from alexnet_cli.evaluation.metrics import in_top_k

    first, *others = (in_top_k(each.probabilities_NK, labels_N, 1) for each in measured)
    return [compare(first, other) for other in others]


def _bar(total: int, name: str, *, quiet: bool) -> "Progress":
    from rich.markup import escape
    from rich.progress import Progress

    console = stderr_console()
    progress = Progress(console=console, disable=quiet or not console.is_terminal, transient=True)
    progress.add_task(escape(printable(f"evaluating {name}")), total=total)
    return progress
