"""`alexnet explain`."""

import dataclasses
import importlib
import inspect
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alexnet_cli.cli.console import print_json, stdout_console
from alexnet_cli.cli.options import Json
from alexnet_cli.manifest import Activation, Network, NetworkSpec, Pool

if TYPE_CHECKING:
    from alexnet_cli.models.explain import LayerRow

EXAMPLES = "Example: alexnet explain alexnet --groups 1"

_OWN_START = (("alexnet_cli.networks", "_protocol"),)  # cuda-convnet's
_OTHER_START = (
    ("alexnet_cli.models.init", "init_he"),
    ("alexnet_cli.training.prepare", "_scaling"),
)
_TRAINING = (  # where the code says how training differs from the paper's
    ("alexnet_cli.data.batches", "TrainingBatches"),
    ("alexnet_cli.data.batches", "EpochDraw"),
    ("alexnet_cli.training.optimizer", "set_rate"),
    ("alexnet_cli.training.schedule", "count_drops"),
)


def command(
    name: Annotated[Network, typer.Argument(help="The network.")] = Network.ALEXNET,
    classes: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1_000_000,
            help="Outputs; 1000 for large images, 10 for small ones.",
            show_default=False,
        ),
    ] = None,
    crop_size: Annotated[
        int | None,
        typer.Option(min=1, max=1024, help="Side of the input; its own one.", show_default=False),
    ] = None,
    activation: Annotated[Activation, typer.Option(help="As in train.")] = Activation.RELU,
    lrn: Annotated[bool | None, typer.Option("--lrn/--no-lrn", help="As in train.")] = None,
    pool: Annotated[Pool, typer.Option(help="As in train.")] = Pool.OVERLAPPING,
    groups: Annotated[int, typer.Option(min=0, max=2, help="As in train.")] = 0,
    json: Json = False,
) -> None:
    """Show a network layer by layer, and where it and its training differ from the paper.

    Numbers are for one image: multiply-accumulates (MACs), float32 memory of
    the activations, and the side of the part of the image that a unit sees.
    """
    from alexnet_cli.models.build import CLASSES
    from alexnet_cli.models.explain import layer_table, paper_notes
    from alexnet_cli.models.lrn import LocalResponseNorm
    from alexnet_cli.networks import FACTS, network_spec

    facts = FACTS[name]
    is_large = facts.image_size_px > 32
    spec = network_spec(
        name,
        num_classes=classes or (1000 if is_large else 10),
        crop_size_px=crop_size or facts.crop_size_px or round(facts.image_size_px * 7 / 8),
        switches={"activation": activation, "lrn": lrn, "pool": pool, "groups": groups or None},
    )
    rows = layer_table(spec)
    about: list[Any] = [inspect.getmodule(CLASSES[name]), CLASSES[name]]
    if any(row.name.startswith("lrn") for row in rows):
        about.append(LocalResponseNorm)
    notes = {
        "network": paper_notes(about),
        "training": paper_notes(
            getattr(importlib.import_module(module), thing)
            for module, thing in (
                *(_OWN_START if facts.protocol else _OTHER_START),
                *_TRAINING,
            )
        ),
    }
    if json:
        print_json(_as_data(spec, rows, notes))
    else:
        _print(spec, rows, notes)


def _as_data(
    spec: NetworkSpec, rows: "tuple[LayerRow, ...]", notes: dict[str, tuple[str, ...]]
) -> dict[str, Any]:
    return {
        "network": dataclasses.asdict(spec),
        "num_parameters": sum(row.num_parameters for row in rows),
        "num_macs": sum(row.num_macs for row in rows),
        "activation_bytes": sum(row.activation_bytes for row in rows),
        "layers": [dataclasses.asdict(row) for row in rows],
        "departures": notes,
    }


def _print(
    spec: NetworkSpec, rows: "tuple[LayerRow, ...]", notes: dict[str, tuple[str, ...]]
) -> None:
    from rich.table import Table

    table = Table(
        title=f"{spec.name}, {spec.num_classes:,} classes, {spec.crop_size_px}-px input",
        caption="k/s/p/g: kernel, stride, padding, groups",
        show_footer=True,
    )
    totals = {
        "parameters": f"{sum(row.num_parameters for row in rows):,}",
        "MACs": f"{sum(row.num_macs for row in rows) / 1e6:,.1f} M",
        "memory": f"{sum(row.activation_bytes for row in rows) / 1024:,.0f} K",
    }
    for column in ("layer", "output", "k/s/p/g", "parameters", "MACs", "sees", "memory", "paper"):
        justify: Any = "left" if column in ("layer", "paper") else "right"
        footer = "total" if column == "layer" else totals.get(column, "")
        table.add_column(column, footer=footer, justify=justify, no_wrap=column != "paper")
    for row in rows:
        table.add_row(*_cells(row))
    console = stdout_console()
    console.print(table)
    for what, texts in notes.items():
        console.print(f"\nThe {what} and the paper")
        for text in texts:
            console.print(f"• {text}", markup=False)


def _cells(row: "LayerRow") -> tuple[str, ...]:
    window = (row.kernel, row.stride, row.padding, row.groups)
    return (
        row.name,
        "×".join(map(str, row.output_shape)),
        "" if row.kernel is None else "/".join(map(str, window)),
        f"{row.num_parameters:,}" if row.num_parameters else "",
        f"{row.num_macs / 1e6:,.1f} M" if row.num_macs else "",
        "all" if row.receptive_field_px is None else f"{row.receptive_field_px} px",
        f"{row.activation_bytes / 1024:,.0f} K",
        row.section,
    )
