"""An independent reader: is a run what its manifest, its records and its numbers say?"""
