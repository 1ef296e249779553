"""Tuning of a bundle's post-processing."""
