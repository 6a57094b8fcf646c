"""Records that several cells read one after the other, read from disk but once."""

from __future__ import annotations

from typing import final

from crucibench.contracts.records import Records
from crucibench.store.stored_records import Stamp, StoredRecords

_HELD = 1 << 27
"""Files of up to 128 MiB together are held."""


@final
class RecentRecords:
    """Holds the records that were asked for last, as long as their files stay as they are.

    What reads a file in blocks reads it anew: only what `StoredRecords` keeps is held.
    """

    def __init__(self) -> None:
        self._held: dict[Stamp, StoredRecords] = {}

    def records(self, records: Records) -> Records:
        """Returns these records, or equal ones that may have been read already."""
        if not isinstance(records, StoredRecords) or not records.small:
            return records
        stamp = records.stamp()
        found = self._held.pop(stamp, records)
        self._held[stamp] = found
        while len(self._held) > 1 and sum(one.size for one in self._held.values()) > _HELD:
            self._held.pop(next(iter(self._held)))
        return found
