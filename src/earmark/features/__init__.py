"""Log-mel front-ends and augmentations."""
