"""Pictures of detections and of scores."""
