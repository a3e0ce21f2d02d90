# SPDX-License-Identifier: Apache-2.0
"""Gather what a walk finds into batches that are worth handing over to another process."""

FIRST, MOST = 4, 32  # items: the first ones tell soon how slow it goes; then some ten times what handing them over costs
MOST_DATA = 8 << 20  # bytes


class Batches:
    """Items by their directory: a batch is a list of (directory, list of items), in the order of the walk.

    Args:
        crew (Crew): gets each batch that is full.
    """

    def __init__(self, crew):
        self._crew, self._most = crew, FIRST
        self._empty()

    @property
    def next(self):
        """int: the number of the first batch that none of the items so far is in."""
        return self._crew.submitted + bool(self._batch)

    def add(self, directory, item, data=0):
        """Add an item. directory (bytes) is relative to the top, item of a type that marshal knows, data in bytes."""
        if not self._batch or self._batch[-1][0] != directory:
            self._batch.append((directory, []))
        self._batch[-1][1].append(item)
        self._items, self._data = self._items + 1, self._data + data
        if self._items >= self._most or self._data >= MOST_DATA:
            self.submit()

    def submit(self):
        """Hand over what there is; raises as Crew.submit() does."""
        if self._batch:
            batch = self._batch
            self._most = min(MOST, 2 * self._most)
            self._empty()
            self._crew.submit(batch)

    def _empty(self):
        self._batch, self._items, self._data = [], 0, 0


def directory_of(path, name):
    """bytes: the directory of an entry of a walk, relative to the top, which is b'.'; b'' for the top itself."""
    return b"" if path == b"." else path[: -len(name) - 1] or b"."
