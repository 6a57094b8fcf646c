"""Perturbed texts: what a reader would still read alike."""
