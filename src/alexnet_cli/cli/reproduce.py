"""`alexnet reproduce`."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alexnet_cli.cli.options import Device, Json, Quiet
from alexnet_cli.console import note, print_json

if TYPE_CHECKING:
    from alexnet_cli.paper.experiments import Experiment
    from alexnet_cli.paper.plan import Protocol
    from alexnet_cli.paper.result import Result
    from alexnet_cli.paper.runner import Workspace

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
    from alexnet_cli.paper.experiments import find_experiment
    from alexnet_cli.paper.plan import DATA, TRIAL_DATA, Protocol
    from alexnet_cli.paper.result import lock_output

    if data not in (DATA, TRIAL_DATA):
        raise UsageError(
            f"the experiments are on {DATA}, not on {data}",
            hint=f"leave --data out, or try the command with --data {TRIAL_DATA}",
        )
    experiment = find_experiment(name)
    protocol = Protocol(seeds or experiment.num_seeds, data, epochs or 0)
    path = output / "results" / f"{name}.json"
    workspace = _workspace(output, jobs, device)
    with lock_output(output):
        result = _run(experiment, protocol, workspace, path, quiet=quiet)
    _print(experiment, result, as_json=json)
    note(f"{path}; as a page: alexnet report {shlex.quote(str(path))}", quiet=quiet)


def _workspace(output: Path, jobs: int | None, device: str) -> "Workspace":
    from alexnet_cli.devices import num_cores
    from alexnet_cli.paper.runner import Workspace
    from alexnet_cli.training.device import resolve_device

    is_gpu = resolve_device(device).type == "cuda"
    return Workspace(output / "runs", jobs or (1 if is_gpu else num_cores()), device)


def _run(
    experiment: "Experiment",
    protocol: "Protocol",
    workspace: "Workspace",
    path: Path,
    *,
    quiet: bool,
) -> "Result":
    """Run what is missing, and write the result after each run."""
    from alexnet_cli.paper.result import continue_result, new_result, read_result, write_result
    from alexnet_cli.paper.scheduler import Scheduler, run_experiment

    result = new_result(experiment.name, protocol)
    if path.exists():
        result = continue_result(read_result(path), experiment.name, protocol, path)
        note(f"{path} has {len(result.runs)} runs already", quiet=quiet)
    if protocol.max_epochs:
        note(f"longer training is shortened to {protocol.max_epochs} epochs", quiet=quiet)
    write_result(path, result)  # an interrupted command continues with this protocol
    scheduler = Scheduler(workspace, lambda message: note(message, quiet=quiet))
    return run_experiment(
        result, protocol.num_seeds, scheduler, save=lambda now: write_result(path, now)
    )


def _print(experiment: "Experiment", result: "Result", *, as_json: bool) -> None:
    """Print the result as JSON, or its claims as a table."""
    from alexnet_cli.paper.result import to_document
    from alexnet_cli.paper.tables import HEADINGS, claim_rows, describe_protocol

    if as_json:
        print_json(to_document(result))
        return
    from rich.table import Table

    from alexnet_cli.console import stdout_console

    table = Table(
        title=f"{experiment.title} ({experiment.source})",
        caption=describe_protocol(experiment, result),
    )
    rows = claim_rows(experiment, result)
    for column in zip(HEADINGS, *rows, strict=True):
        longest = max(len(word) for text in column for word in text.split())
        table.add_column(column[0], min_width=longest)  # lines break between words
    for row in rows:
        table.add_row(*row)
    stdout_console().print(table)


def _list(*, as_json: bool) -> None:
    """Print the experiments as a table or as JSON."""
    from alexnet_cli.paper.experiments import EXPERIMENTS

    if as_json:
        print_json([_entry(each) for each in EXPERIMENTS.values()])
        return
    from rich.table import Table

    from alexnet_cli.console import stdout_console

    table = Table(caption="networks: with the epochs of the published training of a seed")
    for heading in ("name", "question", "source", "networks", "seeds"):
        table.add_column(heading, no_wrap=heading == "networks")
    for each in EXPERIMENTS.values():
        networks = (f"{name}: {epochs}" for name, epochs in _entry(each)["networks"].items())
        table.add_row(each.name, each.title, each.source, "\n".join(networks), str(each.num_seeds))
    stdout_console().print(table)


def _entry(experiment: "Experiment") -> dict[str, Any]:
    from alexnet_cli.paper.plan import num_epochs_published

    return {
        "name": experiment.name,
        "question": experiment.title,
        "source": experiment.source,
        "networks": {arm.name: num_epochs_published(experiment, arm) for arm in experiment.arms},
        "claims": [
            {"claim": claim.text, "published": claim.published} for claim in experiment.claims
        ],
        "seeds": experiment.num_seeds,
        "rates": experiment.learning_rates,
        "remarks": experiment.remarks,
    }
