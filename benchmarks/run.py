"""All parts of the training benchmark in one run.

`python -m benchmarks.run` takes about a quarter of an hour on two cores and writes
`benchmarks/results/HARDWARE.json`; `--short` takes a few minutes and only prints, unless `--out`
names a file. Nothing else should run on the machine; the result has its load.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from alexnet_cli.training.device import resolve_device
from benchmarks import checkpoint, epoch, evaluate, images, lrn, machine, memory, table, train_step
from benchmarks.metrics import Comparison
from benchmarks.settings import Settings, full_form, short_form

PARTS: dict[str, Callable[[Settings], list[Comparison]]] = {
    "lrn": lrn.measure,
    "train_step": train_step.measure,
    "epoch": epoch.measure,
    "evaluate": evaluate.measure,
    "memory": memory.measure,
    "checkpoint": checkpoint.measure,
}


def run(settings: Settings, parts: list[str], *, form: str, out: Path | None) -> dict[str, Any]:
    """Run the parts in order, print each comparison, and return the result.

    Args:
        settings: Sizes and counts.
        parts: Names of the parts.
        form: `full` or `short`, for the record.
        out: The result file, written after each part.
    """
    result = {
        **machine.new_result("benchmark", settings.device),
        "form": form,
        "rates": machine.rates(
            settings.device, size=settings.matmul_size, repeats=settings.repeats
        ),
        "data": settings.data,
        "batch_size": settings.batch_size,
        "figures": [],
    }
    print("\n".join(table.HEADER), flush=True)
    for part in parts:
        for comparison in PARTS[part](settings):
            result["figures"].append(comparison.to_dict())
            print(table.row_of(result["figures"][-1]), flush=True)
        if out is not None:
            machine.write_result(result, out)
    return result


def main() -> None:
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
        out = machine.RESULTS / f"{machine.slug(device)}.json"
    run(settings, parts, form="short" if given.short else "full", out=out)
    if out is not None:
        print(f"\n{out}", file=sys.stderr)


if __name__ == "__main__":
    main()
