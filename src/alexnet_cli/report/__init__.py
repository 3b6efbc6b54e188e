"""What a run came to, to look at: plots as files, and one page that needs nothing else."""
