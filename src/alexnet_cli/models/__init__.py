"""The networks, one readable file per family."""
