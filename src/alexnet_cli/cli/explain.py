"""`alexnet explain`."""

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alexnet_cli.cli.options import Json
from alexnet_cli.console import print_json, print_rich_table, stdout_console
from alexnet_cli.errors import UsageError
from alexnet_cli.networks import Activation, Kernels, Network, NetworkSpec, Pool

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from alexnet_cli.models.describe import LayerRow

    Rows = tuple[LayerRow, ...]

EXAMPLES = (
    "alexnet explain alexnet",
    "alexnet explain alexnet --groups 1 --no-lrn",
    "alexnet explain alexnet-cifar --crop-size 32 --json",
)

_COLUMNS = ("layer", "output", "k/s/p/g", "parameters", "MACs", "field", "memory", "paper")
_DISPENSABLE = ("memory", "field")  # left out of a narrow console, the first one first


def command(
    name: Annotated[
        Network, typer.Argument(metavar="NAME", help="The network; see: alexnet models.")
    ] = Network.ALEXNET_CIFAR,
    classes: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1_000_000,
            help="Number of classes; 1000 for large images, 10 for small ones.",
        ),
    ] = None,
    crop_size: Annotated[
        int | None,
        typer.Option(min=1, max=1024, help="Side of the input in px; by default its own."),
    ] = None,
    activation: Annotated[Activation, typer.Option(help="As in train.")] = Activation.RELU,
    lrn: Annotated[bool | None, typer.Option("--lrn/--no-lrn", help="As in train.")] = None,
    pool: Annotated[Pool, typer.Option(help="As in train.")] = Pool.OVERLAPPING,
    groups: Annotated[int, typer.Option(min=0, max=2, help="As in train.")] = 0,
    kernels: Annotated[Kernels, typer.Option(help="As in train.")] = Kernels.ALL,
    json: Json = False,
) -> None:
    """Show a network layer by layer, and where it and its training differ from the paper.

    Numbers are for one image: multiply-accumulates (MACs), side of a unit's
    receptive field, and float32 memory of the activations.
    """
    from alexnet_cli.models.describe import (
        layer_table,
        network_departures,
        totals,
        training_departures,
    )
    from alexnet_cli.networks import network_spec

    own_px = name.info.own_crop_px()
    spec = network_spec(
        name,
        num_classes=classes or (1000 if name.info.image_size_px > 32 else 10),
        crop_size_px=crop_size or own_px,
        options={"activation": activation, "lrn": lrn, "pool": pool, "groups": groups or None,
                 "kernels": kernels},
    )  # fmt: skip
    try:
        rows = layer_table(spec)
    except UsageError as error:  # its own hint is for train
        error.hint = f"its own input: alexnet explain {name} --crop-size {own_px}"
        raise
    departures = {
        "network": [str(each) for each in network_departures(spec)],
        "training": [str(each) for each in training_departures(name)],
    }
    if json:
        network, layers = dataclasses.asdict(spec), [dataclasses.asdict(row) for row in rows]
        document = {"network": network, **totals(rows), "layers": layers, "departures": departures}
        print_json(document)
        return
    console = stdout_console()
    print_rich_table(_fitting_table(console, spec, rows))
    for subject, texts in departures.items():
        print(f"\nThe {subject} and the paper")
        for text in texts:
            console.print(f"• {text}", markup=False, soft_wrap=not console.is_terminal)


def _fitting_table(console: "Console", spec: NetworkSpec, rows: "Rows") -> "Table":
    """Return the table with as many columns as fit a terminal without breaking a word."""
    from rich.measure import Measurement

    if not console.is_terminal:
        return _table(spec, rows, left_out=())
    unlimited = console.options.update(max_width=1_000)
    for num_left_out in range(len(_DISPENSABLE) + 1):
        table = _table(spec, rows, left_out=_DISPENSABLE[:num_left_out])
        if Measurement.get(console, unlimited, table).maximum <= console.width:
            break
    return table


def _table(spec: NetworkSpec, rows: "Rows", *, left_out: tuple[str, ...]) -> "Table":
    from rich.table import Table

    from alexnet_cli.models.describe import totals

    legend = "k/s/p/g: kernel, stride, padding, groups"
    legend += "" if "field" in left_out else "; field: receptive field"
    legend += f"; on a wider screen also: {', '.join(left_out)}" if left_out else ""
    table = Table(
        title=f"{spec.name}, {spec.num_classes:,} classes, {spec.crop_size_px}-px input",
        caption=legend,
        show_footer=True,
    )
    total = totals(rows)
    footer = {
        "layer": "total",
        "parameters": f"{total['num_parameters']:,}",
        "MACs": f"{total['num_macs'] / 1e6:,.1f} M",
        "memory": f"{total['activation_bytes'] / 1024:,.0f} K",
    }
    shown = [column for column in _COLUMNS if column not in left_out]
    for column in shown:
        justify: Any = "left" if column in ("layer", "paper") else "right"
        table.add_column(column, footer=footer.get(column, ""), justify=justify, no_wrap=True)
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
