"""The language model of known probabilities, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).parent.parent / "examples" / "mock_language_model.py"


class Server:
    """The example's server, running."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(SCRIPT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self.process.stdout.readline())}"
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def uri(self, api: str = "completions", more: str = "") -> str:
        return f"openai:{self.url}/v1?model=mock&api={api}{more}"

    def set(self, **manners: Any) -> None:
        self._opener.open(f"{self.url}/control", json.dumps(manners).encode(), timeout=60).close()

    def close(self) -> None:
        self.process.communicate()  # its input ends, and so does it

    def seen(self) -> dict[str, Any]:
        with self._opener.open(f"{self.url}/seen", timeout=60) as answer:
            found: dict[str, Any] = json.load(answer)
        return found
