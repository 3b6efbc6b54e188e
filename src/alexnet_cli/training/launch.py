"""`--processes N`: run the same command on N processes of this machine, by torch elastic."""

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

from alexnet_cli.console import counted
from alexnet_cli.devices import num_cores
from alexnet_cli.errors import TrainingError, UsageError
from alexnet_cli.training.device import resolve_device
from alexnet_cli.training.ranks import ranks_from_env

_SIGNALS = ("SIGTERM", "SIGINT", "SIGHUP")


def launch_processes(
    arguments: Sequence[str], *, num_processes: int, device: str, max_restarts: int
) -> int | None:
    """Run `alexnet` on several processes, unless this is one of them, and wait for them.

    A process takes one GPU, or at least one CPU core. After one has failed, all are restarted, at
    most `max_restarts` times, and resume from the newest checkpoint.

    Returns:
        The exit code: 0, or that of the process that failed first and has reported why. None: this
        process is one of several already and has to train.

    Raises:
        UsageError: There are not that many devices, or torchrun started another number.
        TrainingError: A process was killed.
    """
    ranks = ranks_from_env()
    if not ranks.is_alone:
        if ranks.world_size != num_processes:
            raise UsageError(
                f"--processes {num_processes}, but torchrun started {ranks.world_size}",
                hint="leave --processes out under torchrun",
            )
        return None
    _require_devices(num_processes, device=device)
    return _launch(arguments, num_processes=num_processes, max_restarts=max_restarts)


def _require_devices(num_processes: int, *, device: str) -> None:
    is_cuda = resolve_device(device).type == "cuda"
    available = torch.cuda.device_count() if is_cuda else num_cores()
    if num_processes > available:
        name = "GPU" if is_cuda else "CPU core"
        raise UsageError(
            f"--processes {num_processes} is more than the {counted(available, name)} of this "
            "machine",
            hint=f"use --processes {available} or fewer",
        )


def _launch(arguments: Sequence[str], *, num_processes: int, max_restarts: int) -> int:
    # Shared with the agent, the store fails at restarts in most trials.
    os.environ.setdefault("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1")
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, num_cores() // num_processes)))
    log = logging.getLogger("torch.distributed.elastic")  # the errors below replace its messages
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
            signals_to_handle=",".join(name for name in _SIGNALS if _is_handled(name)),
        )
        try:
            launch_agent(config, sys.executable, ["-m", "alexnet_cli", *arguments])
        except SignalException as error:
            return 128 + int(error.sigval)
        except ChildFailedError as error:
            return _exit_code(error.failures)
    return 0


def _is_handled(name: str) -> bool:
    """Return whether a signal exists and is not ignored, as nohup arranges."""
    number = getattr(signal, name, None)
    return number is not None and signal.getsignal(number) is not signal.SIG_IGN


def _exit_code(failures: dict[int, ProcessFailure]) -> int:
    # The launcher itself sends SIGTERM to the others once one has failed.
    signals = {rank: -each.exitcode for rank, each in failures.items() if each.exitcode < 0}
    killed = {rank: number for rank, number in signals.items() if number != signal.SIGTERM}
    ended = [each for rank, each in failures.items() if rank not in signals]
    if ended and not killed:
        return min(ended, key=lambda each: int(each.timestamp)).exitcode
    # The others ended because of it.
    rank, number = next(iter((killed or signals).items()))
    raise TrainingError(
        f"rank {rank} of the run was killed by {signal.Signals(number).name}",
        hint="if memory ran out, use gradient accumulation: --micro-batch-size 16",
        code="rank_died",
    )
