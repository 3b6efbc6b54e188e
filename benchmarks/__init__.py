"""Benchmarks: the same work by this project and by its peers, in turns."""
