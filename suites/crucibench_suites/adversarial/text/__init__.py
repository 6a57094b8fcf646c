"""Attacks on texts: edits of characters, and other words, within a share of the words."""
