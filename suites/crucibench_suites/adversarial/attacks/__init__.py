"""White-box and score-based attacks, native: one file each, all with the contract of `model`."""
