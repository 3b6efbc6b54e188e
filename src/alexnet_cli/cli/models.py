"""`alexnet models`."""

from typing import Any

from alexnet_cli.cli.options import Json
from alexnet_cli.console import print_json, print_table
from alexnet_cli.networks import Network

EXAMPLES = ("alexnet models", "alexnet models --json")


def command(json: Json = False) -> None:
    """List the networks that can be trained, with their size and source."""
    entries = [_entry(name) for name in Network]
    if json:
        print_json(entries)
        return
    rows = [
        (
            entry["name"],
            f"{entry['crop_size_px']} px",
            f"{entry['num_parameters']:,}" if entry["num_parameters"] else "",
            f"{entry['num_macs'] / 1e6:,.1f} M" if entry["num_macs"] else "",
            f"{entry['summary']} {entry['source']}",
        )
        for entry in entries
    ]
    numbers = ("input", "parameters", "MACs")
    caption = "with 10 classes; layers: alexnet explain NAME"
    print_table(("name", *numbers, "description"), rows, right=numbers, caption=caption)


def _entry(name: Network) -> dict[str, Any]:
    from alexnet_cli.networks import network_spec

    info, crop_size_px = name.info, name.info.own_crop_px()
    spec = network_spec(name, num_classes=10, crop_size_px=crop_size_px)
    try:
        from alexnet_cli.models.describe import layer_table, totals
    except ModuleNotFoundError:  # where PyTorch is not installed; see docs/deployment.md
        total = {}
    else:
        total = totals(layer_table(spec))
    return {
        "name": name,
        "crop_size_px": crop_size_px,
        "num_parameters": total.get("num_parameters"),
        "num_macs": total.get("num_macs"),
        "options": info.options,
        "summary": info.summary,
        "source": info.source,
    }
