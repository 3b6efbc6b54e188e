"""The experiments that were carried out for this repository, and the page made of them."""
