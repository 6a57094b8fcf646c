"""Metrics as pure functions on arrays: point values and weighted statistics.

The modules, by what they need:

- `statistic`: `Value`, `Statistic`, the mean of a column.
- `table`: the confusion table and the statistics of it.
- `classification`: hits, accuracies, F1, MCC, rates of one class.
- `ranking`: AUROC, average precision, recall at a precision.
- `probabilistic`: softmax, log loss, Brier score.
- `calibration`: calibration errors, reliability diagrams.
- `temperature`: the temperature that would calibrate a model.
- `selective`: risk and coverage.
- `regression`: errors and correlations of real-valued predictions.
- `catalogue`: every metric's identity, direction, bounds and definition.
"""
