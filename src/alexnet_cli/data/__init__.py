"""Datasets: fetched or drawn, checked, split, and turned into batches on the device."""
