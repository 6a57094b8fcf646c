"""Metrics as pure functions on arrays: point values and weighted statistics.

The modules, by what they need:

- `statistic`: `Value`, `Statistic`, the mean of a column.
- `table`: the confusion table.
- `classification`: hits, balanced accuracy, F1, MCC.
- `ranking`: AUROC, average precision, recall at a precision.
- `probabilistic`: softmax, log loss, Brier score.
- `calibration`: calibration errors, reliability diagrams.
- `temperature`: the temperature that would calibrate a model.
- `selective`: risk and coverage.
- `label_free`: accuracy where there are no labels, estimated.
- `regression`: errors and correlations of real-valued predictions.
- `groups`: means by group, the worst of them, and the policy for small ones.
- `group_counts`: rates of groups by their decisions, and indices of inequality.
- `gaps`: differences and ratios between groups, with intervals that can hold 0.
- `gap_chance`: what chance alone makes of them; `gap_clusters`: where samples come in clusters.
- `gap_change`: how much a gap changes from one set of answers to another.
- `catalogue`: every metric's identity, direction, bounds and definition.
"""
