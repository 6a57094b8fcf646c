"""`crucibench --help` against a bare interpreter start, interleaved."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from _report import publish, table

VERBS = ["", "run", "demo", "list", "show", "score", "leaderboard", "report", "verify", "doctor",
         "init", "schema"]  # fmt: skip
ROUNDS = 11


def seconds(words: list[str]) -> float:
    begun = time.perf_counter()
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def main() -> None:
    commands = {"bare interpreter": [sys.executable, "-c", "pass"]}
    for verb in VERBS:
        words = [verb] if verb else []
        name = " ".join(["crucibench", *words, "--help"])
        commands[name] = [sys.executable, "-m", "crucibench", *words, "--help"]
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(ROUNDS):
        for name, words in commands.items():
            times[name].append(seconds(words))
    bare = statistics.median(times["bare interpreter"])
    rows = [
        (f"`{name}`", f"{1000 * statistics.median(found):.0f}",
         f"{1000 * (statistics.median(found) - bare):+.0f}")
        for name, found in times.items()
    ]  # fmt: skip
    publish(
        "help-time",
        "Time to help",
        [
            f"Medians of {ROUNDS} interleaved rounds, in milliseconds. Budget: +250.",
            "",
            *table(["command", "ms", "more than bare"], rows),
        ],
        "click",
    )


if __name__ == "__main__":
    main()
