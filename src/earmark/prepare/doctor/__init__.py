"""The doctor: what is wrong with a dataset, and how to mend it. It changes nothing."""
