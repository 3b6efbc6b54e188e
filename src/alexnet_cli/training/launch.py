"""`--processes N`: the same command on N processes of this machine, by torch elastic."""

import logging
import os
import signal
import sys
import tempfile
import uuid
from collections.abc import Sequence

import torch
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig, launch_agent

from alexnet_cli.devices import num_cores
from alexnet_cli.errors import TrainingError, UsageError
from alexnet_cli.training.device import resolve_device

_SIGNALS = ("SIGTERM", "SIGINT", "SIGHUP")


def require_devices(num_processes: int, *, device: str) -> None:
    """Refuse more processes than there are devices for.

    Args:
        num_processes: Processes to start.
        device: `auto`, `cpu` or `cuda`; a process takes one GPU, or at least one CPU core.

    Raises:
        UsageError: There are too many.
    """
    is_cuda = resolve_device(device).type == "cuda"
    available = torch.cuda.device_count() if is_cuda else num_cores()
    if num_processes > available:
        what = "GPU" if is_cuda else "CPU core"
        raise UsageError(
            f"--processes {num_processes} is more than the {available} {what}"
            f"{'s' if available > 1 else ''} of this machine",
            hint=f"use --processes {available} or fewer",
        )


def launch(arguments: Sequence[str], *, num_processes: int, max_restarts: int = 0) -> int:
    """Run `alexnet` with these arguments on several processes, and wait for them.

    Signals are passed on to the processes, which save and end.

    Args:
        arguments: Of the command line; the processes see that they are already several.
        num_processes: How many.
        max_restarts: How often to start all of them again when one has failed; they go on from
            the newest checkpoint.

    Returns:
        The exit code: 0, or that of the process that failed first, which has said why.

    Raises:
        TrainingError: A process was killed.
    """
    # Shared with the agent, the store fails at restarts in most trials.
    os.environ.setdefault("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1")
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, num_cores() // num_processes)))
    log = logging.getLogger("torch.distributed.elastic")  # the errors below say what it would
    log.propagate = False
    log.addHandler(logging.NullHandler())
    with tempfile.TemporaryDirectory(prefix="alexnet-") as log_folder:
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=num_processes,
            run_id=uuid.uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            local_addr="localhost",
            max_restarts=max_restarts,
            logs_specs=DefaultLogsSpecs(log_dir=log_folder),
            signals_to_handle=",".join(name for name in _SIGNALS if _is_heeded(name)),
        )
        try:
            launch_agent(config, sys.executable, ["-m", "alexnet_cli", *arguments])
        except SignalException as error:
            return 128 + int(error.sigval)
        except ChildFailedError as error:
            return _exit_code(error.failures)
    return 0


def _is_heeded(name: str) -> bool:
    """Whether a signal exists and is not ignored, as nohup arranges."""
    number = getattr(signal, name, None)
    return number is not None and signal.getsignal(number) is not signal.SIG_IGN


def _exit_code(failures: dict[int, ProcessFailure]) -> int:
    # The launcher itself sends SIGTERM to the others once one has failed.
    signals = {rank: -each.exitcode for rank, each in failures.items() if each.exitcode < 0}
    killed = {rank: number for rank, number in signals.items() if number != signal.SIGTERM}
    ended = [each for rank, each in failures.items() if rank not in signals]
    if ended and not killed:
        return min(ended, key=lambda each: int(each.timestamp)).exitcode
    killed = killed or signals
    # The others ended because of it.
    rank, number = next(iter(killed.items()))
    raise TrainingError(
        f"process {rank} of the run was killed by {signal.Signals(number).name}",
        hint="if memory ran out, train with smaller pieces: --micro-batch-size 16",
        code="rank_died",
    )
