"""Multi-label: any number of labels a sample, each with a score of its own."""
