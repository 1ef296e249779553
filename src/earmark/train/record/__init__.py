"""What a run writes down of itself: its beginning, its figures, and who else is told of them."""
