"""Classification: each sample has one of the data's classes."""
