"""Measurement of a model's accuracy, with its uncertainty."""
