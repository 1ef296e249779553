"""Published checkpoints: reading them safely, knowing their layouts, demanding them whole."""
