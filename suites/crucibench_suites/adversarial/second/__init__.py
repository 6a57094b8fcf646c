"""The second opinion: attacks that do not take a model's own gradients at their word."""
