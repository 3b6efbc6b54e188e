"""Works in a process of their own, so that settings of one side's process do not affect the other.

`alexnet train` keeps freed memory (`training/device.py`); the peers run as people start them.
"""

import contextlib
import functools
import multiprocessing
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.connection import Connection
from typing import Any

import torch

from benchmarks.timing import Work, synchronise

Build = Callable[..., Mapping[str, Work]]


@contextlib.contextmanager
def isolated_process(
    build: Build, *arguments: Any, device: torch.device
) -> Iterator[dict[str, Work]]:
    """Start a process that prepares works, and runs one when it is called here.

    Args:
        build: A function at the top level of a module; it is called in the process and returns the
            works by name.
        arguments: Its arguments, pickled.
        device: Synchronised in the process at the end of each work.

    Yields:
        Functions that run a work in the process and return at its end.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, build, arguments, device), daemon=True)
    process.start()
    there.close()
    try:
        yield {name: functools.partial(_run_there, here, name) for name in here.recv()}
        here.send(None)
        process.join()
    finally:
        process.terminate()
        here.close()


def _run_there(here: Connection, name: str) -> None:
    here.send(name)
    here.recv()  # raises EOFError if the process has failed; its traceback is on stderr


def _serve(
    there: Connection, build: Build, arguments: tuple[Any, ...], device: torch.device
) -> None:
    works = build(*arguments)
    there.send(list(works))
    while (name := there.recv()) is not None:
        works[name]()
        synchronise(device)
        there.send(None)
