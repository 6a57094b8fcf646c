"""``python -m crucibench``."""

from crucibench.cli import main

main()
