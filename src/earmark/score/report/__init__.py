"""What is measured of a system, or of several, and how they compare."""
