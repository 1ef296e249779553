"""The training loop, its optimiser, journal and recipes."""
