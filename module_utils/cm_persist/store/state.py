# SPDX-License-Identifier: Apache-2.0
"""The store as a run found it."""

import errno
import os
from typing import Dict, Iterator, List, NamedTuple, Optional, Tuple

from ..fs.dirfd import OPEN_DIRECTORY, Opened, list_names
from ..fs.node import NONE
from ..host.postgresql import Database
from ..host.selinux import Labels
from ..paths import StatePath, relative_of
from ..tree.scan import Room
from .layout import IGNORED, IGNORED_PREFIXES, STATE, unseeded_name
from .owners import InUse, Owners, read_owners
from .record import read_record
from .staging import Inode, read_staging
from .swap import BEFORE, Swap, find_swaps

EMPTY, PARTIAL, SEEDED, FOREIGN = "empty", "partial", "seeded", "foreign"


class Books(NamedTuple):
    """What the state directory says.

    exist: there is one. record: state path to entry, None if nothing was ever recorded. staging: the names in it, None without
    it. published: state path to the entry of a copy that an interrupted run published and did not record. owners: the names of
    the store's owners. swaps: those that interrupted runs started. taken_out: the record on disk names paths that an interrupted
    run took out of the store.
    """

    exist: bool = False
    record: Optional[Dict[str, dict]] = None
    staging: Optional[Tuple[str, ...]] = None
    published: Dict[str, dict] = {}
    owners: Optional[Owners] = None
    swaps: Tuple[Swap, ...] = ()
    taken_out: bool = False

    @property
    def leftovers(self) -> Tuple[str, ...]:
        """The names in staging."""
        return self.staging or ()

    def completed(self) -> "Books":
        """The books as they will be once the swaps that went past their start are completed."""
        swapped = {swap.note.path: swap.note.entry for swap in self.swaps if swap.state != BEFORE}
        return self._replace(record=dict(self.record or {}, **swapped)) if swapped else self


class Volume(NamedTuple):
    """The volume: can it be written, does it outlive the pod ('' or why not), are its locks seen elsewhere, mode, labels."""

    read_only: bool = False
    dies_with: str = ""
    locks_locally: bool = False
    mode: int = 0o755
    labels: Labels = Labels()


class StoreSeen(NamedTuple):
    """The store as it was found.

    foreign: names that no state path claims. dropped: paths of the record that the user no longer names, whether each still leads
    into the store, and what an interrupted run left half done there; databases: those in dropped paths. uid is this process's.
    in_use: the numbers of owners in the store, None where nobody gets another one.
    """

    path: str
    books: Books = Books()
    volume: Volume = Volume()
    room: Room = Room()
    foreign: Tuple[str, ...] = ()
    dropped: Tuple[Tuple[str, bool, str], ...] = ()
    databases: Tuple[Database, ...] = ()
    uid: int = 0
    in_use: Optional[InUse] = None


def read_books(store) -> Books:
    """What the state directory of an open store (Store) says. Raises StoreError if a part of it cannot be read."""
    if store.state_fd is None:
        return Books()
    record = read_record(store.state_fd, store.state_path)
    names, unrecorded = read_staging(store)
    owners = read_owners(store.state_fd, store.state_path)
    swaps = tuple(find_swaps(store, names or ()))
    published = find_published(store, record or {}, unrecorded)
    return _without_taken_out(store, Books(True, record, None if names is None else tuple(names), published, owners, swaps))


def find_published(store, record: Dict[str, dict], unrecorded: Dict[Tuple[str, Inode], dict]) -> Dict[str, dict]:
    """State path to entry of those unrecorded copies that are at their place in the store, and not in the record."""
    found = {}
    for (path, inode), entry in unrecorded.items():
        stored = store.look(relative_of(path))
        if stored.real and (stored.inode, stored.mtime) == inode and path not in record:
            found[path] = entry
    return found


def foreign_names(store, specs: List[StatePath]) -> List[str]:
    """The paths of everything in an open store that no state path claims: the topmost alone."""
    # State paths as {b"var": {b"lib": {}}}; an empty dict is a state path itself, whatever it holds.
    tree = {}
    for spec in specs:
        branch = tree
        for name in spec.relative.split(b"/"):
            branch = branch.setdefault(name, {})
    return list(_foreign_below(store.fd, tree, ""))


def store_state(store: StoreSeen, paths: list) -> str:
    """EMPTY, PARTIAL, SEEDED or FOREIGN; paths have spec, original, stored and entry."""
    if store.books.record is None:
        if store.books.leftovers or any(path.stored.kind != NONE for path in paths):
            return PARTIAL
        return FOREIGN if store.foreign else EMPTY
    unseeded = [path for path in paths if path.entry is None and (path.stored.kind != NONE or path.original.kind != NONE)]
    return PARTIAL if unseeded or store.books.leftovers else SEEDED


def _without_taken_out(store, books):
    # A run that took paths out of the store was killed before the record forgot them (seed/unseed.py).
    record = {
        key: entry
        for key, entry in (books.record or {}).items()
        if unseeded_name("/" + os.fsdecode(relative_of(key))) not in books.leftovers or store.look(relative_of(key)).kind != NONE
    }
    return books._replace(record=record, taken_out=True) if len(record) < len(books.record or {}) else books


def _foreign_below(fd: int, tree: dict, above: str) -> Iterator[str]:
    for name in list_names(fd):
        if name.startswith(IGNORED_PREFIXES) or (not above and (name == STATE.encode() or name in IGNORED)):
            continue
        path = os.path.join(above, os.fsdecode(name))
        branch = tree.get(name)
        if branch is None:
            yield path
        elif branch:
            try:
                below = os.open(name, OPEN_DIRECTORY, dir_fd=fd)
            except OSError as error:
                if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                    raise
                yield path
                continue
            with Opened(below):
                yield from _foreign_below(below, branch, path)
