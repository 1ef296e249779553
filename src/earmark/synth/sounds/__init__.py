"""Families of synthesised sounds, one module per way of making sound."""
