"""Sound: decoding any container, resampling, reading whole or in blocks."""
