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
def crew():
    return WorkerPool()


def test_items_are_kept_by_directory_and_in_order(crew):
    batches = Batcher(crew)
    for directory, item in ((b"a", 1), (b"a", 2), (b"b", 3), (b"a", 4)):
        batches.add(directory, item)
    batches.submit()
    assert crew.got == [[(b"a", [1, 2]), (b"b", [3]), (b"a", [4])]]


def test_nothing_is_handed_over_as_nothing(crew):
    batches = Batcher(crew)
    batches.submit()
    assert crew.got == [] and batches.next == 0


def test_a_batch_is_full_by_its_items(crew):
    batches = Batcher(crew)
    sizes = [FIRST, 2 * FIRST, 4 * FIRST, MOST_ITEMS, MOST_ITEMS]
    for item in range(sum(sizes) + 1):
        batches.add(b".", item)
    assert [len(batch[0][1]) for batch in crew.got] == sizes
    batches.submit()
    assert sum((batch[0][1] for batch in crew.got), []) == list(range(sum(sizes) + 1))


def test_or_by_their_data(crew):
    batches = Batcher(crew)
    batches.add(b".", "large", MOST_DATA)
    batches.add(b".", "half", MOST_DATA // 2)
    assert crew.got == [[(b".", ["large"])]]
    batches.add(b".", "rest", MOST_DATA // 2)
    assert len(crew.got) == 2


def test_the_next_batch_is_the_first_without_what_was_added(crew):
    batches = Batcher(crew)
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
