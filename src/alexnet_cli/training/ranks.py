"""Stopping at a safe place when asked to.

One run on several processes (ranks): who this process is, and what it must agree on with others.

`torchrun` starts the ranks and names them in the environment. Weights and random choices are equal
on all ranks; each takes its share of every batch, and the gradients are summed.

Words that all ranks exchange are bytes in a tensor, not pickles.
"""

import contextlib
import gc
import json
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

from alexnet_cli.data.loader import share_of
from alexnet_cli.devices import parse_device
from alexnet_cli.errors import AlexnetError, Interrupted, TrainingError, UsageError
from alexnet_cli.evaluation.measure import Logits

_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


class StopRequest:
    """While entered, the first signal only sets `signal_number`; a second one acts at once.

    Args:
        once: Whether further signals are ignored instead, and all of them once an error ends this,
            to the end of the process: one of several is signalled by its launcher as soon as the
            first of them has ended.
    """

    def __init__(self, *, once: bool = False) -> None:
        self.signal_number: int | None = None
        self._once = once
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        try:
            for number in _SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup arranges
                    self._previous[number] = signal.signal(number, self.note)
        except ValueError:  # not in the main thread: signals are the host program's affair
            self._previous.clear()
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *_: object) -> None:
        if self._once and (exc_type is not None or self.signal_number is not None):
            self._set(signal.SIG_IGN)  # this process has yet to say why it ends
            return
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def note(self, number: int, _frame: FrameType | None = None) -> None:
        """Take a signal, or another process's word that there was one."""
        self.signal_number = number
        self._set(signal.SIG_IGN if self._once else signal.SIG_DFL)

    def _set(self, handler: signal.Handlers) -> None:
        for number in self._previous:
            signal.signal(number, handler)


TIMEOUT_SECONDS = 120
_LAUNCHER = os.getppid()
_WORDS_BYTES = 16_384
_SPEAKING_SECONDS = 2.0
_ODD_64_BITS = 0x9E3779B97F4A7C15  # of the golden ratio: its multiples differ in all bits

Result = TypeVar("Result")


class ReportedByOtherRankError(AlexnetError):
    """Another rank reports the error; this one only ends with its status."""

    code = "told_elsewhere"

    def __init__(self, exit_code: int) -> None:
        super().__init__("another process of the run failed")
        self.exit_code = exit_code


@dataclass(frozen=True)
class Ranks:
    """The processes of a run, and which of them this one is; a single one by default.

    Attributes:
        rank: Number of this process; 0 alone writes and reports.
        world_size: Number of processes.
        local_rank: Number of this process on its machine, and of its GPU.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0

    @property
    def is_first(self) -> bool:
        """Whether this process writes and reports."""
        return self.rank == 0

    @property
    def is_alone(self) -> bool:
        """Whether there is no other process."""
        return self.world_size == 1

    @property
    def environment(self) -> dict[str, str]:
        """What bit-identity depends on here."""
        return {} if self.is_alone else {"ranks": str(self.world_size)}

    def device_name(self, name: str) -> str:
        """Return this rank's own device: `cuda` becomes `cuda:LOCAL_RANK`.

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
        """Return the seed of one step's dropout: another on each rank."""
        return ((seed << 32) + step) ^ (self.rank * _ODD_64_BITS % 2**64)

    def parallel(self, network: nn.Module) -> nn.Module:
        """Return the network to train: its gradients become the mean over all ranks."""
        if self.is_alone:
            return network
        device = next(network.parameters()).device
        devices = [device] if device.type == "cuda" else None
        return DistributedDataParallel(network, device_ids=devices)

    def micro_batches(
        self, network: nn.Module, num_images: int, *, at_most: int
    ) -> Iterator[tuple[slice, contextlib.AbstractContextManager[None]]]:
        """Deal out a share of a batch in parts of equal size, as far as that is possible.

        Args:
            network: What `parallel` returned.
            num_images: Images of this rank's share.
            at_most: Images in a part; 0: all of them.

        Yields:
            A part, and the context for its forward and backward pass: gradients are added up
            here, and summed over ranks with the last part only.
        """
        num_parts = max(1, -(-num_images // (at_most or max(1, num_images))))
        for part in range(num_parts):
            is_last = part == num_parts - 1
            waits = not is_last and isinstance(network, DistributedDataParallel)
            yield (
                share_of(num_images, part, num_parts),
                network.no_sync() if waits else contextlib.nullcontext(),  # type: ignore[operator]
            )

    def total(self, own: Tensor) -> Tensor:
        """Return the sum over ranks of a tensor, in its own dtype."""
        if not self.is_alone:
            own = own.clone()
            dist.all_reduce(own)
        return own

    def agreed(self, stop: StopRequest, *, save: bool) -> tuple[int | None, bool]:
        """Return the signal that stops all ranks here, and whether all save.

        It does not matter which of them the signal came to; the end of a rank's launcher counts as
        SIGTERM: nobody would be left to end it. All ranks must call this at the same step.

        Args:
            stop: Signals of this rank.
            save: Whether this rank's clock says so; the first one's word is what counts.
        """
        if self.is_alone:
            return stop.signal_number, save
        orphaned = signal.SIGTERM if os.getppid() != _LAUNCHER else 0
        # On the CPU: no wait for the GPU.
        words = torch.tensor([stop.signal_number or int(orphaned), int(save and self.is_first)])
        dist.all_reduce(words, dist.ReduceOp.MAX)
        number, saves = words.tolist()
        if number:
            stop.note(number)
        # Not this rank's own word: a signal that came meanwhile is for the next time, or this rank
        # would stop here alone and the others would wait for it.
        return number or None, bool(saves)

    def wait(self) -> None:
        """Return when all ranks have come here."""
        if not self.is_alone:
            dist.all_reduce(torch.zeros(()))

    def sharded(self, model: Logits, *, num_classes: int) -> Logits:
        """Return a model that computes a share of each batch on each rank, and has all of it.

        Args:
            model: The same on all ranks, as are the batches it will be called with.
            num_classes: Its outputs K.
        """
        if self.is_alone:
            return model

        def logits(images_BSSC: NDArray[np.uint8]) -> NDArray[np.float32]:
            all_BK = torch.zeros(len(images_BSSC), num_classes)
            own = share_of(len(images_BSSC), self.rank, self.world_size)
            if own.start < own.stop:
                all_BK[own] = torch.from_numpy(model(images_BSSC[own]))
            dist.all_reduce(all_BK)  # adds zeros to each row: exact
            return all_BK.numpy()

        return logits

    def run_on_all_ranks(self, action: Callable[[], Result]) -> Result:
        """Do something on all ranks; where it fails on one, all end, and one says why.

        Raises:
            AlexnetError: What `action` raised here, on the first rank where it failed.
            ReportedByOtherRankError: It failed on another rank.
        """
        failure: AlexnetError | None = None
        try:
            result = action()
        except AlexnetError as error:
            failure = error
        codes = [
            int(words) for words in self.all_gather_text(str(failure.exit_code if failure else 0))
        ]
        first = next((rank for rank, code in enumerate(codes) if code), None)
        if failure is not None and first == self.rank:
            raise failure
        if first is not None:
            raise ReportedByOtherRankError(codes[first]) from failure
        return result

    def all_gather_text(self, own: str) -> list[str]:
        """Return what each rank says, by rank."""
        if self.is_alone:
            return [own]
        content = json.dumps(own).encode()
        page = torch.zeros(_WORDS_BYTES, dtype=torch.uint8)
        page[: len(content)] = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        pages = [torch.empty_like(page) for _ in range(self.world_size)]
        dist.all_gather(pages, page)
        return [json.loads(each.numpy().tobytes().rstrip(b"\0")) for each in pages]


def ranks_from_env() -> Ranks:
    """Return what torchrun's environment variables say; without them, a single process."""
    world_size = int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1
    if world_size == 1:
        return Ranks()
    return Ranks(int(os.environ["RANK"]), world_size, int(os.environ["LOCAL_RANK"]))


@contextlib.contextmanager
def process_group() -> Iterator[Ranks]:
    """Join the other ranks, gloo between CPUs and NCCL between GPUs, and leave at the end.

    Errors that all ranks raise at once are reported by rank 0 alone.

    Raises:
        TrainingError: The others were not there in time, or one of them was lost.
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
        hint = "see what the others say; all of them must be started within "
        raise lost_peer(error, ranks, hint=f"{hint}{TIMEOUT_SECONDS} seconds") from error
    except AlexnetError as error:
        if error.code != "rank_lost":
            _leave()
        is_everyones = error.code in (Interrupted.code, "not_finite")
        if isinstance(error, ReportedByOtherRankError) or (is_everyones and not ranks.is_first):
            # The launcher ends all as soon as one has ended: let the one that speaks do so first,
            # and be ended without a word.
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            time.sleep(_SPEAKING_SECONDS)
            raise ReportedByOtherRankError(error.exit_code) from error
        raise


def _leave() -> None:
    """Leave the group, after all that refers to it: its threads abort a process that ends first."""
    gc.collect()  # DistributedDataParallel is in a cycle
    dist.destroy_process_group()


def is_lost_peer(error: RuntimeError) -> bool:
    """Tell the end of a connection from other failures; gloo has only words for it."""
    return isinstance(error, dist.DistError) or "gloo" in str(error)


def lost_peer(error: RuntimeError, ranks: Ranks, *, hint: str) -> TrainingError:
    """Return the error of a rank whose peers are gone or silent."""
    reason = str(error).strip().splitlines()[0]
    return TrainingError(
        f"process {ranks.rank} of {ranks.world_size} lost the others ({reason})",
        hint=hint,
        code="rank_lost",
    )
