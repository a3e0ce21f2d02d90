# SPDX-License-Identifier: Apache-2.0
"""Let a new tree and a state path's tree in the store change places, and keep the replaced one.

One rename does it where the file system can exchange two names. Elsewhere (NFS) it takes two, and the next run completes a swap
that was killed between them. A note next to the new tree, on disk before the first rename, names both trees by their inode
numbers, which a rename does not change.
"""

import hashlib
import os
from typing import Iterable, List, NamedTuple, Optional

from ..errors import PathError, StoreError, printable
from ..fs.atomic import INVALID, read_json, write_json
from ..fs.dirfd import Opened, lstat, open_directory
from ..fs.syscalls import UNAVAILABLE, rename_exchange, rename_noreplace
from ..paths import relative_of
from ..tree.walk import LEAVE, walk
from .layout import LARGEST, LISTS, MANIFESTS, STAGING, TREE
from .record import check_entry, check_path
from .uses import Use, find_use

NOTE, OLD = b"swap.json", b"old"
MERGE_SUFFIX, ROLLBACK_SUFFIX = "-merge", "-rollback"  # how the names in staging end
# How far a swap came. READY: not started, but due, as another path's rollback is past its start. HALF: between two renames.
BEFORE, READY, HALF, AFTER, UNKNOWN = "before", "ready", "half", "after", "unknown"


class SwapNote(NamedTuple):
    """A swap as its note has it: the state path's key, the inode numbers of both trees, and their entries in the record."""

    path: str
    new: int
    old: int
    entry: dict
    previous: dict


class Swap(NamedTuple):
    """A swap that an interrupted run started: its name in staging, its note (None: never started), and how far it came.

    used_by: what uses the tree which a READY swap is to replace.
    """

    name: str
    note: Optional[SwapNote]
    state: str
    used_by: Use = None

    @property
    def is_rollback(self) -> bool:
        """True if the swap brings a kept tree back."""
        return self.name.endswith(ROLLBACK_SUFFIX)


class CompleteSwap(NamedTuple):
    """Complete a swap that an interrupted run started."""

    swap: Swap
    store: str

    def describe(self):
        return "complete what an earlier run began to put in the place of {}{}".format(self.store, self.swap.note.path)

    def execute(self, run):
        note = self.swap.note
        if self.swap.state == READY:
            Exchange(note.path, self.store, self.swap.name).execute(run)
            return
        with open_swap(run.store, self.swap.name) as private, run.store.parent_of(relative_of(note.path)) as (parent, name):
            if self.swap.state == HALF:
                rename_noreplace(TREE, name, private, parent)
            # The killed run may not have synced its renames.
            os.fsync(parent)
            os.fsync(private)
        run.record[note.path] = note.entry


class Exchange(NamedTuple):
    """Let the new tree of a state path (its key), complete and on disk in staging, take the place of the present one."""

    path: str
    store: str
    name: str

    def describe(self):
        return "exchange the new tree with {}{}".format(self.store, printable(self.path))

    def execute(self, run):
        self._refuse_use(run)
        run.publishing = True
        with open_swap(run.store, self.name) as private:
            note = read_note(private)
            # To where the entry names them, before the trees change places.
            with run.store.private_dir(MANIFESTS) as manifests:
                for field, name in LISTS:
                    if note.entry[field] and lstat(name, private) is not None:
                        os.rename(name, os.fsencode(note.entry[field]), src_dir_fd=private, dst_dir_fd=manifests)
                os.fsync(manifests)
                os.fsync(run.store.state_fd)
            exchange(run.store, note, private)
        run.record[note.path] = note.entry

    def _refuse_use(self, run):
        # Data that was written since the copy was made would be in the replaced tree only.
        use = find_use(run.store, self.path)
        if use:
            raise PathError(self.path, "the store's copy is in use: {}".format(use.describe()), use.hint)
        if self.path in run.stamps:
            with run.store.parent_of(relative_of(self.path)) as (parent, name):
                if stamp(parent, name) != run.stamps[self.path]:
                    found = "the store's copy was written to while it was merged"
                    raise PathError(self.path, found, "Stop what writes there, then start again.")


def open_swap(store, name: str) -> Opened:
    """The private directory of a swap in staging, open for the length of a with block."""
    with store.private_dir(STAGING) as staging:
        return Opened(open_directory(staging, os.fsencode(name), store.state_path))


def write_note(private_fd: int, note: SwapNote):
    """Write the note of a swap, durably, into the private directory that holds the new tree."""
    write_json(private_fd, NOTE, note._asdict())


def read_note(private_fd: int) -> Optional[SwapNote]:
    """The note of a swap; None if there is none, and so no swap was started."""
    try:
        note = read_json(private_fd, NOTE, LARGEST)
        path, entries = check_path(note["path"]), (check_entry(note["entry"]), check_entry(note["previous"]))
        return SwapNote(path, int(note["new"]), int(note["old"]), *entries)
    except INVALID:
        return None


def find_swaps(store, names: Iterable[str]) -> List[Swap]:
    """The swaps among the names in staging that interrupted runs started. Raises StoreError if how far one came cannot be
    determined.

    All paths go back together: as soon as one rollback is past its start, the others are READY, whichever run comes next.
    """
    swaps = [_find_swap(store, name) for name in names if name.endswith((MERGE_SUFFIX, ROLLBACK_SUFFIX))]
    if any(swap.is_rollback and swap.state != BEFORE for swap in swaps):
        swaps = [_made_ready(store, swap) if swap.is_rollback and swap.state == BEFORE else swap for swap in swaps]
    return swaps


def exchange(store, note: SwapNote, private_fd: int):
    """Let the trees change places. The note is on disk; private_fd is the directory that holds the new tree."""
    with store.parent_of(relative_of(note.path)) as (parent, name):
        try:
            rename_exchange(TREE, name, private_fd, parent)
        except OSError as error:
            if error.errno not in UNAVAILABLE:
                raise
            rename_noreplace(name, OLD, parent, private_fd)
            os.fsync(private_fd)
            rename_noreplace(TREE, name, private_fd, parent)
        os.fsync(parent)
        os.fsync(private_fd)


def stamp(dir_fd: int, name: bytes) -> str:
    """A digest of names, sizes and times of change of a tree: another one means that something wrote to it."""
    digest = hashlib.sha256()
    for visit in walk(dir_fd, name):
        if visit.event != LEAVE:
            status = visit.status
            digest.update(b"%s %d %d %d\0" % (visit.path, status.st_ino, status.st_size, status.st_ctime_ns))
    return digest.hexdigest()


def _find_swap(store, name):
    with open_swap(store, name) as private:
        note, tree, old = read_note(private), lstat(TREE, private), lstat(OLD, private)
    if note is None and old is None:
        return Swap(name, None, BEFORE)
    state = UNKNOWN if note is None else _how_far(store, note, tree, old)
    if state == UNKNOWN:
        found = "an earlier run began to put this in the place of {}, and how far it came cannot be told"
        hint = "See which of the two trees is the newer, put it at that path in the store by hand, and move this away."
        where = os.path.join(store.state_path, os.fsdecode(STAGING), name)
        raise StoreError(where, found.format(note.path if note else "another tree"), hint)
    return Swap(name, note, state)


def _how_far(store, note, tree, old):
    stored, state = store.look(relative_of(note.path)), UNKNOWN
    if tree is not None and tree.st_ino == note.new:
        if old is None:
            state = BEFORE
        elif old.st_ino == note.old and not stored.real:
            state = HALF
    if tree is None and old is None and stored.inode == note.old:  # an earlier run has begun to clear it away
        state = BEFORE
    kept = tree if old is None else old
    if kept is not None and kept.st_ino == note.old and stored.inode == note.new:
        state = AFTER
    return state


def _made_ready(store, swap):
    note = swap.note
    if note is None or store.look(relative_of(note.path)).inode != note.old:
        return swap
    return swap._replace(state=READY, used_by=find_use(store, note.path))
