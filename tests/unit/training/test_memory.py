import subprocess
import sys

SCRIPT = """
import resource, torch
from alexnet_cli.training.memory import keep_freed_memory
if {kept}:
    assert keep_freed_memory()
def step():
    x = torch.ones(12_000_000, requires_grad=True)
    (x * 2).sum().backward()
for _ in range(15):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def num_faults(*, kept):
    command = [sys.executable, "-c", SCRIPT.format(kept=kept)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def test_memory_that_was_freed_is_not_cleared_again():
    assert num_faults(kept=True) < 0.2 * num_faults(kept=False)
