"""Datasets: what there is, batches of it, and synthesised ones."""
