"""The doctor: what is wrong with a dataset, and what to do about it. It changes nothing."""
