import json
import subprocess
import sys

SCRIPT = """
import json, resource, torch
from alexnet_cli.training.device import keep_freed_memory

def num_faults():
    def step():
        x = torch.ones(9_000_000, requires_grad=True)
        (x * 2).sum().backward()
    for _ in range(15):
        step()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

freed = num_faults()
assert keep_freed_memory()
print(json.dumps([freed, num_faults()]))
"""


def test_memory_that_was_freed_is_not_cleared_again():
    command = [sys.executable, "-c", SCRIPT]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    freed, kept = json.loads(result.stdout)
    assert kept < 0.2 * freed
