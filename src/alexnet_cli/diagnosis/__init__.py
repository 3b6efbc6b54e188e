"""What this machine and this installation can do, what is broken, and what repairs it."""
