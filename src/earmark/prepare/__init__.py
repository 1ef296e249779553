"""From people's files to a data set: importing labels, doctor, cache."""
