"""What people look at: pictures and the demo."""
