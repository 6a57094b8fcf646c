"""Whether a number of robustness can be believed: what records and probes say against it."""
