"""`alexnet explain`."""

import dataclasses
import importlib
import inspect
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alexnet_cli.cli.options import Json
from alexnet_cli.console import print_json, stdout_console
from alexnet_cli.networks import Activation, Kernels, Network, NetworkSpec, Pool

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from alexnet_cli.models.describe import LayerRow

EXAMPLES = (
    "alexnet explain alexnet",
    "alexnet explain alexnet --groups 1 --no-lrn",
    "alexnet explain alexnet-cifar --crop-size 32 --json",
)

_COLUMNS = ("layer", "output", "k/s/p/g", "parameters", "MACs", "sees", "memory", "paper")
_DISPENSABLE = ("memory", "sees")  # on a narrow console, the first one first

# Where the code says how training differs from the paper's: any, with crops, with cuda-convnet's
# protocol, with a warm-up, on CIFAR-10, as the paper's otherwise.
_ANY = (
    ("alexnet_cli.training.setup", "_scaling"),
    ("alexnet_cli.training.optimizer", "set_learning_rate"),
)
_CROPS = (("alexnet_cli.data.loader", "TrainingBatches"),)
_PROTOCOL = (("alexnet_cli.networks", "_protocol"),)
_WARM_UP = (("alexnet_cli.networks", "_warm_up"),)
_ON_CIFAR10 = (("alexnet_cli.config.recipes", "on_cifar10"),)
_PAPER = (
    ("alexnet_cli.models.build", "init_he"),
    ("alexnet_cli.data.augment", "EpochDraw"),
    ("alexnet_cli.training.schedule", "count_drops"),
)


def command(
    name: Annotated[
        Network, typer.Argument(metavar="NAME", help="The network; see: alexnet models.")
    ] = Network.ALEXNET,
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
    kernels: Annotated[Kernels, typer.Option(help="As in train.")] = Kernels.ALL,
    json: Json = False,
) -> None:
    """Show a network layer by layer, and where it and its training differ from the paper.

    Numbers are for one image: multiply-accumulates (MACs), float32 memory of
    the activations, and the side of the part of the image that a unit sees.
    """
    from alexnet_cli.errors import UsageError
    from alexnet_cli.models.build import CLASSES
    from alexnet_cli.models.describe import layer_table, paper_notes, switch_notes
    from alexnet_cli.models.lrn import LocalResponseNorm
    from alexnet_cli.networks import FACTS, network_spec

    facts = FACTS[name]
    is_large = facts.image_size_px > 32
    own_px = facts.own_crop_px(facts.image_size_px)
    spec = network_spec(
        name,
        num_classes=classes or (1000 if is_large else 10),
        crop_size_px=crop_size or own_px,
        switches={
            "activation": activation,
            "lrn": lrn,
            "pool": pool,
            "groups": groups or None,
            "kernels": kernels,
        },
    )
    try:
        rows = layer_table(spec)
    except UsageError as error:  # its own hint is for train
        error.hint = f"its own input: alexnet explain {name} --crop-size {own_px}"
        raise
    about: list[Any] = [inspect.getmodule(CLASSES[name]), CLASSES[name]]
    if any(row.name.startswith("lrn") for row in rows):
        about.append(LocalResponseNorm)
    notes = {
        "network": (*switch_notes(spec), *paper_notes(about)),
        "training": paper_notes(
            getattr(importlib.import_module(module), thing)
            for module, thing in (
                *(_PAPER if facts.dropout else _PROTOCOL),
                *(_ON_CIFAR10 if name is Network.ALEXNET_CIFAR else ()),
                *(_WARM_UP if "warmup_epochs" in facts.protocol else ()),
                *(_CROPS if own_px < facts.image_size_px else ()),
                *_ANY,
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
    console = stdout_console()
    console.print(_fitting_table(console, spec, rows))
    for what, texts in notes.items():
        console.print(f"\nThe {what} and the paper")
        for text in texts:
            console.print(f"• {text}", markup=False)


def _fitting_table(console: "Console", spec: NetworkSpec, rows: "tuple[LayerRow, ...]") -> "Table":
    """Return the table with as many columns as the console has room for, in whole words."""
    from rich.measure import Measurement

    unlimited = console.options.update(max_width=1_000)
    for num_left_out in range(len(_DISPENSABLE) + 1):
        table = _table(spec, rows, left_out=_DISPENSABLE[:num_left_out])
        if Measurement.get(console, unlimited, table).maximum <= console.width:
            break
    return table


def _table(
    spec: NetworkSpec, rows: "tuple[LayerRow, ...]", *, left_out: tuple[str, ...]
) -> "Table":
    from rich.table import Table

    more = f"; on a wider screen also: {', '.join(left_out)}" if left_out else ""
    table = Table(
        title=f"{spec.name}, {spec.num_classes:,} classes, {spec.crop_size_px}-px input",
        caption=f"k/s/p/g: kernel, stride, padding, groups{more}",
        show_footer=True,
    )
    totals = {
        "layer": "total",
        "parameters": f"{sum(row.num_parameters for row in rows):,}",
        "MACs": f"{sum(row.num_macs for row in rows) / 1e6:,.1f} M",
        "memory": f"{sum(row.activation_bytes for row in rows) / 1024:,.0f} K",
    }
    shown = [column for column in _COLUMNS if column not in left_out]
    for column in shown:
        justify: Any = "left" if column in ("layer", "paper") else "right"
        table.add_column(column, footer=totals.get(column, ""), justify=justify, no_wrap=True)
    for row in rows:
        cells = dict(zip(_COLUMNS, _cells(row), strict=True))
        table.add_row(*(cells[column] for column in shown))
    return table


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
