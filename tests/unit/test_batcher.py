# SPDX-License-Identifier: Apache-2.0
"""Batcher: everything is handed over once, in order, in pieces that are neither too many nor too large."""

import pytest

from module_utils.cm_persist.tree.walk import directory_of, path_in
from module_utils.cm_persist.tree.workers import FIRST, MOST_DATA, MOST_ITEMS, Batcher


class WorkerPool:
    """Notes what it gets."""

    def __init__(self):
        self.got = []

    @property
    def submitted(self):
        return len(self.got)

    def submit(self, batch):
        self.got.append(batch)


@pytest.fixture
def pool():
    return WorkerPool()


def test_items_are_kept_by_directory_and_in_order(pool):
    batches = Batcher(pool)
    for directory, item in ((b"a", 1), (b"a", 2), (b"b", 3), (b"a", 4)):
        batches.add(directory, item)
    batches.submit()
    assert pool.got == [[(b"a", [1, 2]), (b"b", [3]), (b"a", [4])]]


def test_nothing_is_handed_over_as_nothing(pool):
    batches = Batcher(pool)
    batches.submit()
    assert pool.got == [] and batches.next == 0


def test_a_batch_is_full_by_its_items(pool):
    batches = Batcher(pool)
    sizes = [FIRST, 2 * FIRST, 4 * FIRST, MOST_ITEMS, MOST_ITEMS]
    for item in range(sum(sizes) + 1):
        batches.add(b".", item)
    assert [len(batch[0][1]) for batch in pool.got] == sizes
    batches.submit()
    assert sum((batch[0][1] for batch in pool.got), []) == list(range(sum(sizes) + 1))


def test_or_by_their_data(pool):
    batches = Batcher(pool)
    batches.add(b".", "large", MOST_DATA)
    batches.add(b".", "half", MOST_DATA // 2)
    assert pool.got == [[(b".", ["large"])]]
    batches.add(b".", "rest", MOST_DATA // 2)
    assert len(pool.got) == 2


def test_the_next_batch_is_the_first_without_what_was_added(pool):
    batches = Batcher(pool)
    assert batches.next == 0
    batches.add(b".", 1)
    assert batches.next == 1, "it is going to be in batch 0"
    batches.submit()
    assert batches.next == 1


@pytest.mark.parametrize(
    ("path", "name", "directory"),
    [(b".", b"top", b""), (b"a", b"a", b"."), (b"a/b", b"b", b"a"), (b"a/b/c", b"c", b"a/b")],
)
def test_the_directory_of_an_entry(path, name, directory):
    assert directory_of(path, name) == directory and path_in(directory, name) == path
