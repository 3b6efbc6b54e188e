"""Experiment trackers: where numbers and pictures of a run go beside its folder."""
