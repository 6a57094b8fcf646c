"""Regression: each sample has one number."""
