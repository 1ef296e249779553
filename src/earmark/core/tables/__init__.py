"""Tables on disk and in memory: labels, events, scores."""
