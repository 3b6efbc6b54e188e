"""The settings of a training run: their schema, their recipes, and where each value came from."""
