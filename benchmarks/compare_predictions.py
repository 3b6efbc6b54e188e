"""Compare two files of `alexnet evaluate --predictions`, such as one and ten views of a run.

`python -m benchmarks.compare_predictions one.csv ten.csv` prints the gain with its 95 % interval
and McNemar's exact test; `evaluate A B` does so for two models with the same number of views.
"""

import csv
import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from alexnet_cli.evaluation.metrics import compare


def right(path: Path) -> NDArray[np.bool_]:
    """Return True for each correct prediction, in the order of the file."""
    with path.open(encoding="utf-8", newline="") as file:
        return np.array([row["truth"] == row["prediction"] for row in csv.DictReader(file)])


if __name__ == "__main__":
    first, second = (right(Path(name)) for name in sys.argv[1:])
    print(json.dumps(dataclasses.asdict(compare(first, second)), indent=1))
