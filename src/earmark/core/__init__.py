"""Time, sound, events, scores and settings: what every room stands on."""
