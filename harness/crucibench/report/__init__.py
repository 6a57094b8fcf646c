"""Leaderboard, report and terminal views: everything they show comes from the data of a run.

Where to look: `leaderboard` joins runs, and `leaderboard.shown` says in texts what
`leaderboard_text`, `leaderboard_latex`, `terminal` and `site` lay out; `html` renders the report
from `scorecard`, `sections` (drawn by registered kinds, with `plots` and `marks`), `findings`,
`gaps` and `provenance`; `show` returns plain data, `views` writes the files of a run. A new kind of
section is one class with an entry point (`crucibench.contracts.section`).
"""
