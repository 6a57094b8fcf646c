"""One file per kind of address; the registry finds them by their entry points."""
