"""Data sources, sample ids, and data sets opened for the engine."""
