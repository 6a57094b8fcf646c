"""Data that the project makes itself, one file a generator; `source` is the table of them."""
