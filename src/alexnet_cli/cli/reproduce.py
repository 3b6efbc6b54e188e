"""`alexnet reproduce`."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alexnet_cli.cli.options import Device, Json, Quiet
from alexnet_cli.console import note, print_json

if TYPE_CHECKING:
    from alexnet_cli.paper.experiments import Experiment
    from alexnet_cli.paper.plan import Terms
    from alexnet_cli.paper.scheduler import Place

EXAMPLES = (
    "alexnet reproduce --list",
    "alexnet reproduce relu",
    "alexnet reproduce lrn --seeds 3 --budget 120",
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
            help="Trainings of each network, from other first weights, order of images and images "
            "held out; by default as many as the experiment names.",
            show_default=False,
        ),
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option(
            min=1,
            metavar="MINUTES",
            help="Choose --epochs so that all runs together take about so long on this machine.",
            show_default=False,
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=100_000,
            help="Shorten each published training that is longer to so many epochs, and with it "
            "the epochs at which its rate drops.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        str,
        typer.Option(
            help="cifar10; or shapes: a trial of the command on drawn images, which says nothing "
            "about the claims; add --epochs."
        ),
    ] = "cifar10",
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Trainings at once; by default one for each core, on a GPU one.",
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
    """Carry out an experiment of the paper and hold its claims against the result.

    Each network is trained with several seeds; where a claim is about test errors,
    the finished runs are measured on the test set. What was begun goes on with the
    same command. Results: OUTPUT/results/NAME.json.
    """
    from alexnet_cli.errors import UsageError

    if list_them:
        _list(as_json=json)
        return
    if name is None:
        raise UsageError(
            "no experiment was named", hint="they are described by: alexnet reproduce --list"
        )
    if budget is not None and epochs is not None:
        raise UsageError(
            "--budget and --epochs both say how long the training is", hint="leave one out"
        )
    from alexnet_cli.paper.experiments import find_experiment
    from alexnet_cli.paper.plan import DATA, Terms
    from alexnet_cli.paper.result_file import alone_in

    if data not in DATA:
        raise UsageError(
            f"the experiments are of {DATA[0]}, not of {data}",
            hint=f"leave --data out, or try the command with --data {DATA[1]}",
        )
    experiment = find_experiment(name)
    place = _place(output, jobs, device)
    terms = Terms(seeds or experiment.num_seeds, data, epochs or 0)
    path = output / "results" / f"{name}.json"
    with alone_in(output):
        _carry_out(experiment, terms, place, path, budget=budget, quiet=quiet)
    _print(path, as_json=json)
    note(f"{path}; as a page: alexnet report {shlex.quote(str(path))}", quiet=quiet)


def _place(output: Path, jobs: int | None, device: str) -> "Place":
    from alexnet_cli.devices import num_cores
    from alexnet_cli.paper.scheduler import Place
    from alexnet_cli.training.device import resolve_device

    is_gpu = resolve_device(device).type == "cuda"
    return Place(output / "runs", jobs or (1 if is_gpu else num_cores()), device)


def _carry_out(
    experiment: "Experiment",
    terms: "Terms",
    place: "Place",
    path: Path,
    *,
    budget: float | None,
    quiet: bool,
) -> None:
    """Do what is missing, and keep the result after each run."""
    from dataclasses import replace

    from alexnet_cli.paper.result import go_on_with, new_result
    from alexnet_cli.paper.result_file import read_result, write_result
    from alexnet_cli.paper.scheduler import Crew, affordable_epochs, carry_out

    earlier = read_result(path) if path.exists() else None
    if budget is not None and earlier is not None:
        terms = replace(terms, most_epochs=earlier.terms.most_epochs)
        note("what was begun keeps its length, whatever the --budget", quiet=quiet)
    elif budget is not None:
        note(f"timing the networks, to fit their training into {budget:g} minutes", quiet=quiet)
        most_epochs = affordable_epochs(experiment, terms, place, minutes=budget)
        terms = replace(terms, most_epochs=most_epochs)
    result = new_result(experiment.name, terms)
    if earlier is not None:
        result = go_on_with(earlier, experiment.name, terms, path)
        note(f"{path} has {len(result.runs)} runs already", quiet=quiet)
    if terms.most_epochs:
        note(f"training that is longer is shortened to {terms.most_epochs} epochs", quiet=quiet)
    write_result(path, result)  # so that the same command goes on with the same terms
    crew = Crew(place, lambda line: note(line, quiet=quiet))
    carry_out(result, terms.num_seeds, crew, lambda now: write_result(path, now))


def _print(path: Path, *, as_json: bool) -> None:
    """Print the result as a table of claims, or as JSON."""
    from alexnet_cli.paper.experiments import find_experiment
    from alexnet_cli.paper.result_file import read_result, to_document
    from alexnet_cli.paper.tables import HEADINGS, claim_rows, how

    result = read_result(path)
    if as_json:
        print_json(to_document(result))
        return
    from rich.table import Table

    from alexnet_cli.console import stdout_console

    experiment = find_experiment(result.experiment)
    table = Table(
        title=f"{experiment.title} ({experiment.source})", caption=how(experiment, result)
    )
    rows = claim_rows(experiment, result)
    for column in zip(HEADINGS, *rows, strict=True):
        longest = max(len(word) for text in column for word in text.split())
        table.add_column(column[0], min_width=longest)  # it breaks between words
    for row in rows:
        table.add_row(*row)
    stdout_console().print(table)


def _list(*, as_json: bool) -> None:
    """Describe the experiments."""
    from alexnet_cli.paper.experiments import EXPERIMENTS

    if as_json:
        print_json([_entry(each) for each in EXPERIMENTS.values()])
        return
    from rich.table import Table

    from alexnet_cli.console import stdout_console

    table = Table(caption="networks: with the epochs of the whole training, once for each seed")
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
        "rates": experiment.rates,
        "remarks": experiment.remarks,
    }
