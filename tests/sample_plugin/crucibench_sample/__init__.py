"""A plug-in as a third party would write it."""
