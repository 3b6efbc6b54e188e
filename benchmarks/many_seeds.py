"""The fastest way to train several seeds of a small network: processes, threads, or stacked.

`python -m benchmarks.many_seeds`. In turns: a process for each core with one thread each, as
`alexnet reproduce` trains; one process with a thread for each core; one process with as many
networks stacked, their updates vectorised by `torch.func.vmap`, in both number formats. Batches are
in memory already.
"""

import argparse
import copy
import functools
import os
import subprocess
import sys
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap

from alexnet_cli.config.recipes import recipe_settings
from alexnet_cli.config.schema import Recipe, TrainConfig
from alexnet_cli.data.batches import Batch
from alexnet_cli.devices import num_cores
from alexnet_cli.networks import Network
from benchmarks import alexnet_side, machine
from benchmarks.metrics import Comparison

# Without LRN, whose kernel has no rule for vmap.
MODELS = (Network.CUDA_CONVNET_19PCT, Network.CUDA_CONVNET_13PCT)
BATCH_SIZE, MOMENTUM = 128, 0.9
_KINDS = ("processes", "threads", "stacked bf16", "stacked fp32")


def measure(*, rounds: int, num_updates: int) -> list[Comparison]:
    """Measure each way in turns, `rounds` times; a sample is `num_updates` updates."""
    comparisons = []
    for model in MODELS:
        rates: dict[str, list[float]] = {kind: [] for kind in _KINDS}
        for _ in range(rounds):
            for kind in _KINDS:
                rates[kind].append(images_per_second(kind, model, num_updates))
        what = f"{model}, {num_cores()} at once"
        comparisons += [
            Comparison("many_seeds", what, kind, "images/s", rates["processes"], rates[kind])
            for kind in _KINDS[1:]
        ]
    return comparisons


def images_per_second(kind: str, model: Network, num_updates: int) -> float:
    """Return images per second of all networks, from their common start to the end of the last."""
    processes = num_cores() if kind == "processes" else 1
    threads = num_cores() // processes
    command = [sys.executable, "-m", "benchmarks.many_seeds", "--worker", kind, "--model", model,
               "--updates", str(num_updates)]  # fmt: skip
    workers = [
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        )
        for _ in range(processes)
    ]  # fmt: skip
    for worker in workers:
        if worker.stdout is None or worker.stdout.readline() != "ready\n":
            raise RuntimeError(f"a worker for {kind} did not start")
    begin = time.perf_counter()
    for worker in workers:
        if worker.stdin is not None:
            worker.stdin.close()  # the signal to start
    statuses = [worker.wait() for worker in workers]
    seconds = time.perf_counter() - begin
    if any(statuses):
        raise RuntimeError(f"a worker for {kind} failed")
    num_networks = 1 if kind == "threads" else num_cores()
    return num_networks * num_updates * BATCH_SIZE / seconds


def work(kind: str, model: Network, num_updates: int) -> None:
    """Run one process of a sample: warm up, print `ready`, wait for the start, update."""
    config = TrainConfig(**{**recipe_settings(Recipe.PAPER, model), "model": model})
    trainer = alexnet_side.make_trainer(
        config, alexnet_side.noise_images(BATCH_SIZE), device=machine.CPU
    )
    batch = alexnet_side.one_batch(trainer)
    if kind.startswith("stacked"):
        dtype = torch.bfloat16 if kind.endswith("bf16") else torch.float32
        update = _stacked(trainer.model, batch, num_cores(), dtype)
    else:
        update = functools.partial(alexnet_side.update, trainer, batch)
    for _ in range(3):
        update()
    print("ready", flush=True)
    sys.stdin.read()
    for _ in range(num_updates):
        update()


def _stacked(
    network: nn.Module, batch: Batch, num_networks: int, dtype: torch.dtype
) -> Callable[[], None]:
    """Return an update of several networks at once, each on a batch of its own."""
    networks = [copy.deepcopy(network) for _ in range(num_networks)]
    parameters, buffers = stack_module_state(networks)
    outline = copy.deepcopy(network).to("meta")
    images = batch.images_BSSC.expand(num_networks, *batch.images_BSSC.shape).clone()
    labels = batch.labels_B.expand(num_networks, -1).clone()

    def loss(own: dict[str, Tensor], fixed: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype, enabled=dtype is not torch.float32):
            logits = functional_call(outline, (own, fixed), (x,))
        return F.cross_entropy(logits.float(), y)

    gradients = vmap(grad(loss), randomness="different")
    velocities = {name: torch.zeros_like(each) for name, each in parameters.items()}

    @torch.no_grad()
    def update() -> None:
        found = gradients(parameters, buffers, images, labels)
        for name, velocity in velocities.items():
            velocity.mul_(MOMENTUM).add_(found[name], alpha=-1e-3)
            parameters[name].add_(velocity)

    return update


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--updates", type=int, default=40)
    parser.add_argument("--worker", choices=_KINDS, help=argparse.SUPPRESS)
    parser.add_argument("--model", type=Network, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        work(given.worker, given.model, given.updates)
        return
    comparisons = measure(rounds=given.rounds, num_updates=given.updates)
    result = {
        **machine.new_result("many_seeds"),
        "figures": [each.to_dict() for each in comparisons],
    }
    out = machine.RESULTS / f"many_seeds-{machine.slug()}.json"
    machine.write_result(result, out)
    print(out, file=sys.stderr)


if __name__ == "__main__":
    main()
