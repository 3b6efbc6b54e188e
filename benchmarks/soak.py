"""A soak test: train, kill and resume for some time, and record memory and open files.

`python -m benchmarks.soak [--minutes 30] [--output soak.json]`. Each process is killed (SIGKILL)
after a random time and its run resumed; meanwhile its resident memory and open files are sampled.
Linux only (`/proc`).
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

from alexnet_cli.run_folder import RunFolder
from alexnet_cli.training.checkpoint import newest_checkpoint
from benchmarks.machine import new_result, write_result

_TRAIN = ("--data", "shapes", "--image-size", "16", "--val-size", "8000", "--epochs", "100000",
          "--ema-decay", "0.99", "--save-steps", "20", "--quiet")  # fmt: skip
_LIFE_SECONDS = (60.0, 240.0)
_WARM_SECONDS = 30.0  # memory of the first updates is not yet that of training
_SAMPLE_SECONDS = 1.0


def sample(pid: int) -> tuple[int, int]:
    """Return resident KiB and the number of open files of a process."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    resident = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(resident.split()[1]), len(list(Path(f"/proc/{pid}/fd").iterdir()))


def live(run: RunFolder, seconds: float) -> dict[str, float]:
    """Train for some seconds, kill, and return medians of the first and the last samples."""
    begin = ["--resume", str(run.path)] if run.has_checkpoint() else [
        *_TRAIN, "--name", run.path.name, "--output", str(run.path.parent)
    ]  # fmt: skip
    samples = []
    with subprocess.Popen(
        [sys.executable, "-m", "alexnet_cli", "train", "--no-plots", *begin]
    ) as process:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(_SAMPLE_SECONDS)
            if process.poll() is not None:
                raise SystemExit(f"the training ended by itself with status {process.returncode}")
            samples.append(sample(process.pid))
        process.kill()
    warm = samples[int(_WARM_SECONDS / _SAMPLE_SECONDS) :]
    part = max(1, len(warm) // 4)
    return {
        "seconds": seconds,
        "step": newest_checkpoint(run.checkpoints).state.step,
        "resident_mib_early": median(kib for kib, _ in warm[:part]) / 1024,
        "resident_mib_late": median(kib for kib, _ in warm[-part:]) / 1024,
        "files_early": median(count for _, count in warm[:part]),
        "files_late": median(count for _, count in warm[-part:]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    generator = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        run = RunFolder(Path(folder) / "soak")
        end, lives = time.monotonic() + 60 * arguments.minutes, []
        while time.monotonic() < end:
            lives.append(live(run, float(generator.uniform(*_LIFE_SECONDS))))
            print(json.dumps(lives[-1]), flush=True)
        files = sum(1 for path in run.path.rglob("*") if path.is_file())
        growth = max(each["resident_mib_late"] / each["resident_mib_early"] for each in lives)
        result = {
            **new_result("soak"),
            "minutes": arguments.minutes,
            "kills": len(lives),
            "largest_growth_of_memory": growth,
            "largest_growth_of_files": max(e["files_late"] - e["files_early"] for e in lives),
            "resident_mib_first_life": lives[0]["resident_mib_late"],
            "resident_mib_last_life": lives[-1]["resident_mib_late"],
            "files_in_run_folder": files,
            "lives": lives,
        }  # fmt: skip
    write_result(result, arguments.output)


if __name__ == "__main__":
    main()
