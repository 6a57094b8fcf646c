"""Items that a language model is asked about, with reference answers."""
