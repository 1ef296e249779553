"""From annotated recordings to a dataset: names to classes, recordings to clips and splits."""
