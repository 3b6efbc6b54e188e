"""Work done in a process of its own: what one side sets for its process must not serve the other.

`alexnet train` keeps freed memory (`training/memory.py`); the peers run as people start them.
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
def apart(build: Build, *arguments: Any, device: torch.device) -> Iterator[dict[str, Work]]:
    """Start a process that prepares work and does it when called.

    Args:
        build: A function at the top level of a module; called there, it returns work by name.
        arguments: Its arguments, sent as pickles.
        device: Waited for, there, at the end of each piece of work.

    Yields:
        Functions that let the process do a piece of work and return when it is done.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, build, arguments, device), daemon=True)
    process.start()
    there.close()
    try:
        yield {name: functools.partial(_ask, here, name) for name in here.recv()}
        here.send(None)
        process.join()
    finally:
        process.terminate()
        here.close()


def _ask(here: Connection, name: str) -> None:
    here.send(name)
    here.recv()  # raises EOFError when the process has failed: its traceback is on stderr


def _serve(
    there: Connection, build: Build, arguments: tuple[Any, ...], device: torch.device
) -> None:
    works = build(*arguments)
    there.send(list(works))
    while (name := there.recv()) is not None:
        works[name]()
        synchronise(device)
        there.send(None)
