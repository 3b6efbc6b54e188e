"""`alexnet reproduce`."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alexnet_cli.cli.options import Device, Json, Quiet
from alexnet_cli.console import note, print_json, print_rich_table

if TYPE_CHECKING:
    from alexnet_cli.paper.experiments import Experiment
    from alexnet_cli.paper.result import Result

EXAMPLES = (
    "alexnet reproduce --list",
    "alexnet reproduce relu",
    "alexnet reproduce lrn --seeds 3 --epochs 40",
    "alexnet reproduce ladder --epochs 20 --json",
)


def command(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="The experiment.", show_default=False),
    ] = None,
    list_them: Annotated[bool, typer.Option("--list", help="Describe the experiments.")] = False,
    seeds: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1_000,
            help="Number of trainings of each network, with different initial weights, order of "
            "images and validation split; the default depends on the experiment.",
            show_default=False,
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=100_000,
            help="Shorten published trainings that are longer to this many epochs, and their "
            "learning rate schedule with them.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        str,
        typer.Option(
            help="cifar10; or shapes: a trial of the command on drawn images, which does not test "
            "the claims; add --epochs."
        ),
    ] = "cifar10",
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Trainings at once; by default one per core, or one on a GPU.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Folder of the results and the run folders."),
    ] = Path("reproduction"),
    device: Device = "auto",
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Run an experiment of the paper and compare its claims with the result.

    Each network is trained with several seeds; if a claim is about test errors, the
    finished runs are evaluated on the test set. Rerun the same command to continue
    after an interruption. Results: OUTPUT/results/NAME.json.
    """
    from alexnet_cli.errors import UsageError

    if list_them:
        _list(as_json=json)
        return
    if name is None:
        raise UsageError(
            "no experiment given", hint="describe the experiments with: alexnet reproduce --list"
        )
    from alexnet_cli.devices import num_cores
    from alexnet_cli.paper.experiments import find_experiment
    from alexnet_cli.paper.plan import DATA, TRIAL_DATA, Protocol
    from alexnet_cli.paper.runner import Workspace
    from alexnet_cli.paper.scheduler import run_experiment
    from alexnet_cli.training.device import resolve_device

    if data not in (DATA, TRIAL_DATA):
        raise UsageError(
            f"the experiments are on {DATA}, not on {data}",
            hint=f"leave --data out, or try the command with --data {TRIAL_DATA}",
        )
    experiment = find_experiment(name)
    protocol = Protocol(seeds or experiment.num_seeds, data, epochs or 0)
    is_gpu = resolve_device(device).type == "cuda"
    jobs = jobs or (1 if is_gpu else num_cores())
    workspace = Workspace(output, jobs, device, lambda message: note(message, quiet=quiet))
    result = run_experiment(experiment, protocol, workspace)
    _print(experiment, result, as_json=json)
    path = workspace.result_file(name)
    note(f"{path}; as a page: alexnet report {shlex.quote(str(path))}", quiet=quiet)


def _print(experiment: "Experiment", result: "Result", *, as_json: bool) -> None:
    from alexnet_cli.paper.result import to_document
    from alexnet_cli.paper.tables import claim_table, describe_protocol

    if as_json:
        print_json(to_document(result))
        return
    from rich.table import Table

    table = Table(
        title=f"{experiment.title} ({experiment.source})",
        caption=describe_protocol(experiment, result),
    )
    headings, rows = claim_table(experiment, result)
    for column in zip(headings, *rows, strict=True):
        longest = max(len(word) for text in column for word in text.split())
        table.add_column(column[0], min_width=longest)  # lines break between words
    for row in rows:
        table.add_row(*row)
    print_rich_table(table)


def _list(*, as_json: bool) -> None:
    from alexnet_cli.paper.experiments import EXPERIMENTS
    from alexnet_cli.paper.plan import num_epochs_published

    listed: list[dict[str, Any]] = [
        {
            "name": each.name,
            "question": each.title,
            "source": each.source,
            "networks": {arm: num_epochs_published(each, arm) for arm in each.arms},
            "claims": [
                {"claim": claim.text, "published": claim.published} for claim in each.claims
            ],
            "seeds": each.num_seeds,
            "rates": each.learning_rates,
            "remarks": each.remarks,
        }
        for each in EXPERIMENTS.values()
    ]
    if as_json:
        print_json(listed)
        return
    from rich.table import Table

    table = Table(caption="networks: with the epochs of the published training of a seed")
    for heading in ("name", "question", "source", "networks", "seeds"):
        table.add_column(heading, no_wrap=heading == "networks")
    for entry in listed:
        networks = "\n".join(f"{arm}: {epochs}" for arm, epochs in entry["networks"].items())
        table.add_row(
            entry["name"], entry["question"], entry["source"], networks, str(entry["seeds"])
        )
    print_rich_table(table)
