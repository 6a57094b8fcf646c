"""How the cells of shifted data name what they read, and what records of inputs are called."""

from __future__ import annotations

HOME, HERE, TRAIN = "home", "here", "train"
"""The home test set, the shifted set, and the training set: aliases of passes over them."""

SIDES = (HOME, HERE)
"""What drift tests compare."""

INPUT = "input:"
"""What the names of records begin with that hold a table's own values.

Who publishes a run leaves these out unless asked for them.
"""

STATISTIC = "statistic:"
"""What the names of records begin with that hold a statistic of an image or a text."""
