"""Detection while a recording still runs, equal to detection of the whole."""
