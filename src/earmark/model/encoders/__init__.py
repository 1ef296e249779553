"""Frame encoders: waveform to tokens."""
