"""`alexnet verify-resume`."""

import dataclasses
import functools
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alexnet_cli.cli.options import Deterministic, Device, Json, Quiet, with_config_flags
from alexnet_cli.config.recipes import VERIFY_SETTINGS
from alexnet_cli.console import note, print_json
from alexnet_cli.errors import TrainingError

if TYPE_CHECKING:
    from alexnet_cli.training.verification import Attempt

EXAMPLES = (
    "alexnet verify-resume",
    "alexnet verify-resume --kills 5 --model alexnet-cifar-bn",
)


@functools.partial(with_config_flags, defaults=VERIFY_SETTINGS)
def command(
    *,
    given: dict[str, Any],
    kills: Annotated[int, typer.Option(min=1, max=1_000, help="Times to kill the run.")] = 3,
    kill_seed: Annotated[int, typer.Option(min=0, help="Fixes the moments.")] = 0,
    save_steps: Annotated[int, typer.Option(min=1, help="Updates between checkpoints.")] = 20,
    device: Device = "auto",
    deterministic: Deterministic = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Train twice, once killed at random moments, and compare the bytes.

    The run is a few seconds long and on drawn images, unless other settings are
    given. The second time its process is killed without warning (SIGKILL), and
    `train --resume` continues it. Exit code 1 if the results differ.
    """
    from alexnet_cli.training.verification import KilledRun

    folder = Path(tempfile.mkdtemp(prefix="alexnet-verify-"))
    arguments = ["--device", device, *(["--deterministic"] if deterministic else [])]
    run = KilledRun(given, folder, arguments, save_steps=save_steps)
    seconds = run.train_uninterrupted()
    note(f"uninterrupted: {seconds:.1f} s", quiet=quiet)
    attempts = []
    for attempt in run.train_killed(kills, seed=kill_seed):
        attempts.append(attempt)
        note(_line(len(attempts), attempt), quiet=quiet)
    comparisons = run.compare()
    if json:
        files = [{**dataclasses.asdict(each), "is_same": each.is_same} for each in comparisons]
        print_json({"attempts": list(map(dataclasses.asdict, attempts)), "comparisons": files})
    else:
        for each in comparisons:
            verdict = "same" if each.is_same else "DIFFERENT"
            print(f"{verdict:<9}  {each.name:<22} {each.uninterrupted}")
    if not all(each.is_same for each in comparisons):
        raise TrainingError(
            f"the killed run ended in different bytes; both runs are kept in {folder}",
            hint="on CUDA, try --deterministic; else please report it",
            code="resume_differs",
        )
    shutil.rmtree(folder)
    note(f"killed {kills} times, the result is the same, byte for byte", quiet=quiet)


def _line(number: int, attempt: "Attempt") -> str:
    how = "killed" if attempt.killed else "ended "
    step = f"saved up to step {attempt.saved_step}" if attempt.saved_step else "nothing saved yet"
    return f"process {number}: {how} after {attempt.seconds:5.1f} s, {step}"
