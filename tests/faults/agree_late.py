"""Two ranks agree twice; a signal comes to the first while it waits for the other.

`torchrun --nproc-per-node=2 agree_late.py`, in the folder that the answers are written to.
"""

import os
import signal
import threading
import time
from pathlib import Path

from alexnet_cli.training.ranks import StopRequest, process_group

with process_group() as ranks, StopRequest(once=True) as stop:
    ranks.wait()
    if ranks.is_first:
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
    else:
        time.sleep(2)
    answers = [ranks.sync_stop_and_save(stop, save=False)[0] for _ in range(2)]
    Path(f"{ranks.rank}.txt").write_text(str(answers))
