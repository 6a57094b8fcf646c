"""Detection: each sample holds any number of objects, each with a box and a class."""
