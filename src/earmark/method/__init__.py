"""The method: conditional mixup, losses, mean teacher, and the step that joins them."""
