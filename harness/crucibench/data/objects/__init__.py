"""Live data: what a data factory returns and what a notebook holds.

- A `datasets.Dataset` is used as it is; its target is ``label`` unless said otherwise.
- A data frame is a table; which column is its target must be said.
- ``(X, y)``: X is a frame, an array or tensor as `crucibench.data.arrays` has it, or texts:
  strings, or tuples of as many strings each. Columns without names are ``x0``, ``x1``, ...
- A torch `Dataset` of pairs is read once, in order: tensors and arrays, texts, or Pillow images,
  which are kept as PNM files. Its ``classes`` name integer targets.

Their content is what they hold at the moment; nothing of them is cached by name.
"""

from __future__ import annotations

from crucibench.data.objects.dispatch import EXPECTED, OPTIONS, is_data, read_object

__all__ = ["EXPECTED", "OPTIONS", "is_data", "read_object"]
