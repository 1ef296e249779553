"""Soundscapes with exact labels, from recordings or from synthesised sounds."""
