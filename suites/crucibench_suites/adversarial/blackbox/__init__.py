"""Attacks that see scores or labels alone, and count every question they ask."""
