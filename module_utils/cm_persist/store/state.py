# SPDX-License-Identifier: Apache-2.0
"""The store as it was found."""

import errno
import os
from typing import Dict, NamedTuple, Optional, Tuple

from ..fs.dirfd import OPEN_DIRECTORY, list_names
from ..fs.node import NONE
from ..host.postgresql import Database
from ..host.selinux import Labels
from .layout import IGNORED, IGNORED_PREFIXES, STATE
from .owners import Owners
from .swap import Swap


def tree_of(specs):
    """dict: state paths (list of StatePath) as {b"var": {b"lib": {}}}; an empty one is a state path itself, whatever it holds."""
    tree = {}
    for spec in specs:
        branch = tree
        for name in spec.relative.split(b"/"):
            branch = branch.setdefault(name, {})
    return tree


def foreign_names(fd, tree, above=""):
    """Yield the paths (str) of what an open store (fd) holds and no state path claims, the topmost alone; tree is tree_of()'s."""
    for name in list_names(fd):
        if not above and (name == STATE.encode() or name in IGNORED):
            continue
        if name.startswith(IGNORED_PREFIXES):
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
            yield from foreign_names(below, branch, path)
            os.close(below)


class StoreSeen(NamedTuple):
    """The store as it was found: free space in bytes and inodes (None: unlimited), with what leftovers give back;

    taken_out says that the record on disk names paths that are no longer in the store; leftovers are the names in the staging
    directory, and staging whether it is there; begun says the same of the state directory; dropped are paths of the record that
    are no longer named, and whether they are still links into the store; databases lie there;
    owners are what the store's are called; swaps are those that earlier runs began.
    """

    path: str
    record: Optional[Dict[str, dict]] = None
    taken_out: bool = False
    leftovers: Tuple[str, ...] = ()
    staging: bool = False
    begun: bool = False
    foreign: Tuple[str, ...] = ()
    free_bytes: int = 0
    free_inodes: Optional[int] = None
    read_only: bool = False
    dropped: Tuple[Tuple[str, bool], ...] = ()
    dies_with: str = ""
    locks_locally: bool = False
    mode: int = 0o755
    uid: int = 0
    labels: Labels = Labels()
    databases: Tuple[Database, ...] = ()
    owners: Optional[Owners] = None
    swaps: Tuple[Swap, ...] = ()


def store_state(store, paths):
    """str: empty, partial, seeded or foreign, as it was found."""
    if store.record is None:
        if store.leftovers or any(path.stored.kind != NONE for path in paths):
            return "partial"
        return "foreign" if store.foreign else "empty"
    open_ends = [path for path in paths if path.entry is None and (path.stored.kind != NONE or path.original.kind != NONE)]
    return "partial" if open_ends or store.leftovers else "seeded"
