"""Detection by many workers on one or many machines."""
