# SPDX-License-Identifier: Apache-2.0
"""Put another tree in the place of a state path's in the store, and keep the one that was there.

By one rename where the file system lets two names change places. Elsewhere (NFS) by two, and a run that is killed between them
is completed by the next. What is under way is told by a note beside the new tree, written and on disk before: it names both trees
by their inode numbers, which a rename does not change.
"""

import hashlib
import json
import os
from typing import NamedTuple, Optional

from ..errors import PathError, StoreError, printable
from ..fs.atomic import write_file
from ..fs.dirfd import lstat, open_directory, open_regular
from ..fs.syscalls import UNAVAILABLE, rename_exchange, rename_noreplace
from ..host.processes import Process, find_process_using
from ..paths import relative_of
from ..tree.walk import LEAVE, walk
from .layout import LARGEST, MANIFEST, MANIFESTS, STAGING, TREE
from .record import check_entry, check_path

NOTE, OLD = b"swap.json", b"old"
MERGE_SUFFIX, ROLLBACK_SUFFIX = "-merge", "-rollback"  # how the names in staging end
BEFORE, READY, HALF, AFTER, UNKNOWN = "before", "ready", "half", "after", "unknown"


class SwapNote(NamedTuple):
    """path is the state path as the record spells it; new and old are the inode numbers of the two trees, entry and previous
    (dict) their entries in the record."""

    path: str
    new: int
    old: int
    entry: dict
    previous: dict


class Swap(NamedTuple):
    """One that an earlier run began: its name in staging, its SwapNote (None: it was never begun), and how far it came.

    READY is one that has not come far and is to be completed all the same; user is then who uses the tree that it is to replace.
    """

    name: str
    note: Optional[SwapNote]
    state: str
    user: Optional[Process] = None

    @property
    def done(self):
        """str: what has become of the path once it is completed, as results have it."""
        return "rolled_back" if self.name.endswith(ROLLBACK_SUFFIX) else "merged"


def write_note(private_fd, note):
    """Write the note of a swap, durably, into the private directory that holds the new tree."""
    write_file(private_fd, NOTE, json.dumps(note._asdict()).encode("ascii"))


def read_note(private_fd):
    """SwapNote: of a swap; None where there is none, and so none was begun."""
    try:
        with open(open_regular(NOTE, private_fd, LARGEST), "rb") as file:
            note = json.loads(file.read().decode("ascii"))
        path, entries = check_path(note["path"]), (check_entry(note["entry"]), check_entry(note["previous"]))
        return SwapNote(path, int(note["new"]), int(note["old"]), *entries)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


def find_swaps(store, names):
    """Look for swaps that earlier runs began.

    All paths go back together: as soon as one has, the others are ready to, whoever comes next.

    Args:
        store (Store): open.
        names (iterable of str): what is in staging.

    Returns:
        list of Swap.

    Raises:
        StoreError: how far one came cannot be told.
    """
    found = []
    for name in names:
        if name.endswith((MERGE_SUFFIX, ROLLBACK_SUFFIX)):
            with OpenSwap(store, name) as private:
                found.append(_look(store, name, private))
    if any(swap.name.endswith(ROLLBACK_SUFFIX) and swap.state != BEFORE for swap in found):
        found = [_ready(store, swap) if swap.name.endswith(ROLLBACK_SUFFIX) and swap.state == BEFORE else swap for swap in found]
    return found


def exchange(store, note, private_fd):
    """Let the trees change places; the note is on disk.

    Args:
        store (Store): open.
        note (SwapNote): of this swap.
        private_fd (int): the directory that holds the new tree.
    """
    relative = relative_of(note.path)
    parent = store.open_parent(relative)
    try:
        name = os.path.basename(relative)
        try:
            rename_exchange(TREE, name, private_fd, parent)
        except OSError as error:
            if error.errno not in UNAVAILABLE:
                raise
            rename_noreplace(name, OLD, parent, private_fd)
            os.fsync(private_fd)
            _publish(name, private_fd, parent)
        os.fsync(parent)
        os.fsync(private_fd)
    finally:
        os.close(parent)


class Complete(NamedTuple):
    """Complete a swap that an earlier run began, and note it for the record."""

    swap: Swap
    store: str

    def describe(self):
        """str: what will be done."""
        return "complete what an earlier run began to put in the place of {}{}".format(self.store, self.swap.note.path)

    def execute(self, run):
        """Do it. That the rename is on disk is not known yet."""
        note, relative = self.swap.note, relative_of(self.swap.note.path)
        if self.swap.state == READY:
            Exchange(note.path, self.store, self.swap.name).execute(run)
            return
        with OpenSwap(run.store, self.swap.name) as private:
            parent = run.store.open_parent(relative)
            try:
                if self.swap.state == HALF:
                    _publish(os.path.basename(relative), private, parent)
                os.fsync(parent)
                os.fsync(private)
            finally:
                os.close(parent)
        run.record[note.path] = note.entry


class Exchange(NamedTuple):
    """Let the new tree of a state path (str), complete and on disk in staging, take the place of the one that is there."""

    path: str
    store: str
    name: str

    def describe(self):
        """str: what will be done."""
        return "put it in the place of {}{}, by one rename".format(self.store, printable(self.path))

    def execute(self, run):
        """Do it."""
        self._refuse_use(run)
        run.publishing = True
        with OpenSwap(run.store, self.name) as private:
            note = read_note(private)
            if note.entry["manifest"] and lstat(MANIFEST, private) is not None:
                place_manifest(run.store, private, note.entry["manifest"])
            exchange(run.store, note, private)
        run.record[note.path] = note.entry

    def _refuse_use(self, run):
        # What was written since it was copied would be in the tree that is only kept.
        user = find_process_using(run.store.place(self.path))
        if user:
            raise PathError(self.path, "the store's copy is in use: {}".format(user.describe()), user.hint)
        if self.path in run.stamps:
            relative = relative_of(self.path)
            parent = run.store.open_parent(relative)
            try:
                if stamp(parent, os.path.basename(relative)) != run.stamps[self.path]:
                    found = "the store's copy was written to while it was merged"
                    raise PathError(self.path, found, "Stop what writes there, then start again.")
            finally:
                os.close(parent)


def stamp(dir_fd, name):
    """str: a digest of what tells whether anything at a name in a directory was written to: names, sizes, and times of change."""
    told = hashlib.sha256()
    for visit in walk(dir_fd, name):
        if visit.event != LEAVE:
            status = visit.status
            told.update(b"%s %d %d %d\0" % (visit.path, status.st_ino, status.st_size, status.st_ctime_ns))
    return told.hexdigest()


def place_manifest(store, private_fd, name):
    """Put the new tree's manifest where the entry will look for it: before the trees change places."""
    manifests = store.open_private(MANIFESTS)
    try:
        os.rename(MANIFEST, os.fsencode(name), src_dir_fd=private_fd, dst_dir_fd=manifests)
        os.fsync(manifests)
        os.fsync(store.state_fd)
    finally:
        os.close(manifests)


class OpenSwap:
    """The private directory of a swap in staging, open while it is worked on; name (str) is its own."""

    def __init__(self, store, name):
        self._store, self._name = store, os.fsencode(name)

    def __enter__(self):
        staging = self._store.open_private(STAGING)
        try:
            self._fd = open_directory(staging, self._name, self._store.state_path)
        finally:
            os.close(staging)
        return self._fd

    def __exit__(self, *_unused):
        os.close(self._fd)


def _publish(name, private_fd, parent_fd):
    rename_noreplace(TREE, name, private_fd, parent_fd)


def _ready(store, swap):
    note = swap.note
    if note is None or store.look(relative_of(note.path)).inode != note.old:
        return swap
    return swap._replace(state=READY, user=find_process_using(store.place(note.path)))


def _look(store, name, private):
    note = read_note(private)
    tree, old = lstat(TREE, private), lstat(OLD, private)
    if note is None and old is None:
        return Swap(name, None, BEFORE)
    state = UNKNOWN
    if note is not None:
        there = store.look(relative_of(note.path))
        if tree is not None and tree.st_ino == note.new:
            if old is None:
                state = BEFORE
            elif old.st_ino == note.old and not there.real:
                state = HALF
        kept = tree if old is None else old
        if kept is not None and kept.st_ino == note.old and there.inode == note.new:
            state = AFTER
    if state == UNKNOWN:
        raise StoreError(
            os.path.join(store.state_path, os.fsdecode(STAGING), name),
            "an earlier run began to put this in the place of {}, and how far it came cannot be told".format(
                note.path if note else "another tree"
            ),
            "See which of the two trees is the newer, put it at that path in the store by hand, and move this away.",
        )
    return Swap(name, note, state)
