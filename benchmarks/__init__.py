"""The same work done by this project and by its peers, alternating in one run."""
