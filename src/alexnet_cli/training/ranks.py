"""One run on several processes (ranks), and the signals that stop it.

`torchrun`, or `--processes`, starts the ranks and describes them in the environment. Weights and
random choices are equal on all ranks; each rank takes a subset of every batch, and the gradients
are averaged. Only tensors are exchanged, no pickles.
"""

import contextlib
import gc
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from types import FrameType
from typing import Any, Self, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from alexnet_cli.data.batches import split_range
from alexnet_cli.devices import parse_device
from alexnet_cli.errors import AlexnetError, Interrupted, TrainingError, UsageError, first_line
from alexnet_cli.evaluation.measure import Logits

TIMEOUT_SECONDS = 120
_LAUNCHER = os.getppid()
_REPORTING_SECONDS = 2.0
_ODD_64_BITS = 0x9E3779B97F4A7C15  # from the golden ratio: its multiples differ in all bits
_STOP_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]

Result = TypeVar("Result")


class StopRequest:
    """A context in which the first signal only sets `signal_number`; a second one acts at once.

    With `once`, further signals are ignored instead, and all of them after an error, until the
    process ends: the launcher signals all ranks as soon as the first of them has ended.
    """

    def __init__(self, *, once: bool = False) -> None:
        self.signal_number: int | None = None
        self._once = once
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        try:
            for number in _STOP_SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup arranges
                    self._previous[number] = signal.signal(number, self.request)
        except ValueError:  # not in the main thread: signals belong to the host program
            self._previous.clear()
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *_: object) -> None:
        if self._once and (exc_type is not None or self.signal_number is not None):
            self._set_handlers(signal.SIG_IGN)  # this process has yet to report why it ends
            return
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def request(self, number: int, _frame: FrameType | None = None) -> None:
        """Handle a signal to this or another rank."""
        self.signal_number = number
        self._set_handlers(signal.SIG_IGN if self._once else signal.SIG_DFL)

    def _set_handlers(self, handler: signal.Handlers) -> None:
        for number in self._previous:
            signal.signal(number, handler)


class ReportedByOtherRankError(AlexnetError):
    """Another rank reports the error; this one only ends with its exit code."""

    code = "reported_elsewhere"

    def __init__(self, exit_code: int) -> None:
        super().__init__("another process of the run failed")
        self.exit_code = exit_code


@dataclass(frozen=True)
class Ranks:
    """The processes of a run, seen from one of them; by default a single process."""

    rank: int = 0  # rank 0 writes and reports
    world_size: int = 1
    local_rank: int = 0  # number of this process on its machine, and of its GPU

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    @property
    def is_alone(self) -> bool:
        return self.world_size == 1

    @property
    def environment(self) -> dict[str, str]:
        """Properties of the ranks that bit-identity depends on."""
        return {} if self.is_alone else {"ranks": str(self.world_size)}

    def device_name(self, name: str) -> str:
        """Return the name of this rank's device: `cuda` becomes `cuda:LOCAL_RANK`.

        Raises:
            UsageError: One GPU was named for several processes.
        """
        kind, index = parse_device(name)
        if self.is_alone or kind == "cpu":
            return name
        if index is not None:
            raise UsageError(
                f"{name} is one GPU; each of {self.world_size} processes needs its own",
                hint="use --device cuda",
            )
        if kind == "auto" and not torch.cuda.is_available():
            return "cpu"
        return f"cuda:{self.local_rank}"

    def dropout_seed(self, seed: int, step: int) -> int:
        """Return the seed of one step's dropout, different on each rank."""
        return ((seed << 32) + step) ^ (self.rank * _ODD_64_BITS % 2**64)

    def wrap_ddp(self, model: nn.Module) -> nn.Module:
        """Return the model to train: its gradients are averaged over all ranks."""
        if self.is_alone:
            return model
        device = next(model.parameters()).device
        return DistributedDataParallel(
            model, device_ids=[device] if device.type == "cuda" else None
        )

    def no_sync(self, model: nn.Module, *, unless: bool) -> contextlib.AbstractContextManager[None]:
        """Return a context in which backward passes exchange no gradients, `unless` asked to."""
        if unless or not isinstance(model, DistributedDataParallel):
            return contextlib.nullcontext()
        return model.no_sync()

    def total(self, own: Tensor) -> Tensor:
        """Return the sum of a tensor over the ranks, in its own dtype."""
        if not self.is_alone:
            own = own.clone()
            dist.all_reduce(own)
        return own

    def sync_stop_and_save(self, stop: StopRequest, *, save: bool) -> tuple[int | None, bool]:
        """Return the signal that stops all ranks here, and whether all of them save.

        The signal may have come to any of them; rank 0 decides whether a save is due. The end of a
        rank's launcher counts as SIGTERM, because nobody would be left to end the rank. All ranks
        must call this at the same step.
        """
        if self.is_alone:
            return stop.signal_number, save
        orphaned = signal.SIGTERM if os.getppid() != _LAUNCHER else 0
        # On the CPU: no wait for the GPU.
        flags = torch.tensor([stop.signal_number or int(orphaned), int(save and self.is_first)])
        dist.all_reduce(flags, dist.ReduceOp.MAX)
        number, saves = flags.tolist()
        if number:
            stop.request(number)
        # Not `stop.signal_number`: a signal that came meanwhile is for the next time, or this rank
        # would stop here alone and the others would wait for it.
        return number or None, bool(saves)

    def all_gather(self, own: int) -> list[int]:
        """Return the number of each rank, by rank; waits for all of them."""
        numbers = torch.zeros(self.world_size, dtype=torch.int64)
        numbers[self.rank] = own
        gathered: list[int] = self.total(numbers).tolist()
        return gathered

    def wait(self) -> None:
        self.all_gather(0)

    def shard_logits(self, model: Logits, *, num_classes: int) -> Logits:
        """Return a model that computes a subset of each batch on each rank, and returns all of it.

        The model and its batches must be the same on all ranks; K is `num_classes`.
        """
        if self.is_alone:
            return model

        def logits(images_BSSC: NDArray[np.uint8]) -> NDArray[np.float32]:
            all_BK = torch.zeros(len(images_BSSC), num_classes)
            own = split_range(len(images_BSSC), self.rank, self.world_size)
            if own.start < own.stop:
                all_BK[own] = torch.from_numpy(model(images_BSSC[own]))
            dist.all_reduce(all_BK)  # adds zeros to each row: exact
            return all_BK.numpy()

        return logits

    def run_on_all_ranks(self, action: Callable[[], Result]) -> Result:
        """Run an action on all ranks; if it fails on one, all end, and the first of them reports.

        Raises:
            AlexnetError: What `action` raised here, if this is the first rank where it failed.
            ReportedByOtherRankError: It failed on another rank.
        """
        failure: AlexnetError | None = None
        try:
            result = action()
        except AlexnetError as error:
            failure = error
        codes = self.all_gather(failure.exit_code if failure else 0)
        first = next((rank for rank, code in enumerate(codes) if code), None)
        if failure is not None and first == self.rank:
            raise failure
        if first is not None:
            raise ReportedByOtherRankError(codes[first]) from failure
        return result


ALONE = Ranks()  # a single process


def ranks_from_env() -> Ranks:
    """Return the ranks that torchrun's environment variables describe, or a single process."""
    world_size = int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1
    if world_size == 1:
        return ALONE
    return Ranks(int(os.environ["RANK"]), world_size, int(os.environ["LOCAL_RANK"]))


@contextlib.contextmanager
def process_group() -> Iterator[Ranks]:
    """Join the process group, gloo between CPUs and NCCL between GPUs, and leave it at the end.

    Errors that all ranks raise at once are reported by rank 0 alone.

    Raises:
        TrainingError: The other ranks did not start in time, or one of them was lost.
    """
    ranks = ranks_from_env()
    if ranks.is_alone:
        yield ranks
        return
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    if torch.cuda.is_available() and ranks.local_rank < torch.cuda.device_count():
        torch.cuda.set_device(ranks.local_rank)
    try:
        dist.init_process_group(backend, timeout=timedelta(seconds=TIMEOUT_SECONDS))
        yield ranks
        ranks.wait()
        _leave()
    except RuntimeError as error:
        if not is_lost_peer(error):
            raise
        hint = f"see the errors of the others; start all of them within {TIMEOUT_SECONDS} seconds"
        raise lost_peer_error(error, ranks, hint=hint) from error
    except AlexnetError as error:
        if error.code != "rank_lost":
            _leave()
        is_on_all_ranks = error.code in (Interrupted.code, "not_finite")
        if isinstance(error, ReportedByOtherRankError) or (is_on_all_ranks and not ranks.is_first):
            # The launcher ends all ranks as soon as one has ended: let the one that reports end
            # first, and this one be ended silently.
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            time.sleep(_REPORTING_SECONDS)
            raise ReportedByOtherRankError(error.exit_code) from error
        raise


def _leave() -> None:
    """Destroy the process group, after all that refers to it: its threads abort the process."""
    gc.collect()  # DistributedDataParallel is in a cycle
    dist.destroy_process_group()


def is_lost_peer(error: RuntimeError) -> bool:
    """Return whether an error is a lost connection; gloo has no class for it, only a text."""
    return isinstance(error, dist.DistError) or "gloo" in str(error)


def lost_peer_error(error: RuntimeError, ranks: Ranks, *, hint: str) -> TrainingError:
    """Return the error of a rank whose peers are gone or silent."""
    return TrainingError(
        f"rank {ranks.rank} of {ranks.world_size} lost contact with its peers "
        f"({first_line(error)})",
        hint=hint,
        code="rank_lost",
    )
