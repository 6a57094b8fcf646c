"""Puts an environment on top of the one that this runs in: ``python layer.py ENVIRONMENT``.

What is installed here can then be imported there, and what is installed there goes before it.
"""

from __future__ import annotations

import shutil
import sys
import sysconfig
from pathlib import Path


def main() -> None:
    """Writes the files that do so into the environment's folder of packages."""
    (environment,) = map(Path, sys.argv[1:])
    below = sysconfig.get_path("purelib")
    (packages,) = environment.glob("lib/python3*/site-packages")
    # As a folder of packages, so that editable installs in it are heeded, too.
    line = f"import site; site.addsitedir({below!r})\n"
    (packages / "zz_below.pth").write_text(line, encoding="utf-8")
    shutil.copy(Path(__file__).with_name("sitecustomize.py"), packages)


if __name__ == "__main__":
    main()
