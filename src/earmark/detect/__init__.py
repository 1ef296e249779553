"""From a network to events: sliding windows, post-processing, evaluation."""
