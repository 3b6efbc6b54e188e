"""All parts of the benchmark in one run.

`python -m benchmarks.run` takes about a quarter of an hour on two cores and writes
`benchmarks/results/HARDWARE.json`; `--short` takes a few minutes and only prints, unless `--out`
names a file. The machine should have nothing else to do: how busy it was is in the result.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

if not __package__:  # run as a file: let it find its siblings as `-m` does
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from alexnet_cli.files import atomic_write
from alexnet_cli.training.device import resolve_device
from benchmarks import checkpoint, epoch, evaluate, images, lrn, machine, memory, table, train_step
from benchmarks.figures import Figure
from benchmarks.settings import Settings, full_form, short_form

PARTS: dict[str, Callable[[Settings], list[Figure]]] = {
    "lrn": lrn.measure,
    "train_step": train_step.measure,
    "epoch": epoch.measure,
    "evaluate": evaluate.measure,
    "memory": memory.measure,
    "checkpoint": checkpoint.measure,
}
RESULTS = Path(__file__).resolve().parent / "results"


def run(settings: Settings, parts: list[str], *, form: str, out: Path | None) -> dict[str, Any]:
    """Measure, print each figure as it comes, and return the whole result.

    Args:
        settings: Sizes and counts.
        parts: Names of the parts, in order.
        form: `full` or `short`, for the record.
        out: Where the result is kept, after each part anew.
    """
    result = {
        "kind": "benchmark",
        "form": form,
        **machine.provenance(),
        "versions": machine.versions(),
        "machine": machine.describe(settings.device),
        "rates": machine.rates(
            settings.device, size=settings.matmul_size, repeats=settings.repeats
        ),
        "data": settings.data,
        "batch_size": settings.batch_size,
        "figures": [],
    }
    print("\n".join(table.HEADER), flush=True)
    for part in parts:
        for figure in PARTS[part](settings):
            result["figures"].append(figure.to_dict())
            print(table.row_of(result["figures"][-1]), flush=True)
        result["load_after"] = [round(load, 2) for load in os.getloadavg()]
        if out is not None:
            atomic_write(out, (json.dumps(result, indent=1, ensure_ascii=False) + "\n").encode())
    return result


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="fewer rounds; prints only")
    parser.add_argument("--out", type=Path, help="file for the result")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--data", choices=["cifar10", "shapes"], help="cifar10 if downloaded")
    parser.add_argument("--parts", default=",".join(PARTS), help="comma-separated")
    given = parser.parse_args()
    parts = given.parts.split(",")
    if unknown := set(parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    device = resolve_device(given.device)
    data = given.data or images.choose_data()
    settings = short_form(device, data) if given.short else full_form(device, data)
    out = given.out
    if out is None and not given.short:
        out = RESULTS / f"{machine.slug(device)}.json"
    run(settings, parts, form="short" if given.short else "full", out=out)
    if out is not None:
        print(f"\n{out}", file=sys.stderr)


if __name__ == "__main__":
    main()
