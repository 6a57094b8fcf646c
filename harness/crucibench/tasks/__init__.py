"""Task kinds: what a data set asks and how an answer looks, one folder a kind.

Nothing outside this package and the adapters asks which kind a task is of: they ask the kind
(`Task.definition`) for what they need.
"""
