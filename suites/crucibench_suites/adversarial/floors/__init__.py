"""Floors: radii within which nothing can make a model wrong, by what it is made of."""
