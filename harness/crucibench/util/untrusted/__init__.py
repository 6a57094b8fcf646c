"""The one reader of bytes that others wrote: packs, bundles, runs, specs, policies, data files.

Whatever a file holds, reading it takes bounded time and memory and runs nothing; what is refused is
refused by one error, `refusal.RefusedError`, with the file, the place, what was expected and what
was found. Nothing else in this project opens YAML, JSON, archives, NumPy files or images of others:
tests/test_untrusted.py holds that.
"""
