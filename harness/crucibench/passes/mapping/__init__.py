"""Mapping errors: explanations of a model's wrong answers other than the model, tried in turn."""
