"""A plug-in that can't be imported."""

raise RuntimeError("this plug-in is broken on purpose")
