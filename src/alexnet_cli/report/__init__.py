"""The report of runs and experiments: one HTML page, and plots as PNG files."""
