"""Perturbed tables: what goes wrong on the way to a model, and populations that differ."""
