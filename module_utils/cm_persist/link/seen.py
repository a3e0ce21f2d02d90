# SPDX-License-Identifier: Apache-2.0
"""One state path as it was found: the values from which link/plan.py and link/restore_plan.py decide."""

from typing import NamedTuple, Optional, Tuple

from ..fs.node import Node
from ..host.processes import Process
from ..host.systemd import Unit
from ..original.notes import PathNotes
from ..original.pristine import Manifest
from ..paths import StatePath
from ..tree.manifest import Difference
from ..tree.scan import Room, ScanResult


class AtPath(NamedTuple):
    """What is at the state path, and what can be done with it."""

    node: Node = Node()
    is_store_copy: bool = False  # it is the store's own copy, reached through a directory that leads into the store
    empty: bool = False  # it holds nothing
    used_by: Optional[Process] = None  # has something of it open; None: no process has, or nobody has looked
    overlay: bool = False  # its directory is on overlayfs, where a rename may be impossible
    writable: bool = True  # this process may change its directory


class MountSeen(NamedTuple):
    """The mount of the store's copy over the path, and what could be in its way."""

    bound: bool = False  # the store's copy is mounted over the path
    mounted_by: str = ""  # what mounts it, or did before the machine stopped: BY_START, BY_UNIT, or '' for nothing
    unit: Optional[Unit] = None  # the mount unit, where systemd is to mount it
    others: Tuple[str, ...] = ()  # mounts at the path or below it, other than that
    hidden: Tuple[str, ...] = ()  # mounts in the store, which a bind mount would not show
    may_mount: bool = True  # this process may mount


class Evidence(NamedTuple):
    """What proves that the content at the path, or kept next to it, can be had again."""

    manifests: Tuple[Manifest, ...] = ()  # those that may list it
    proof: Optional[Manifest] = None  # the one that lists exactly that
    difference: Optional[Difference] = None  # how it differs, if none does
    compared: bool = False  # somebody has looked for a proof; without manifests there is none, and no difference
    proven_aside: str = ""  # where the original is kept that a manifest lists; '' if none was found, or looked for
    unwritten: bool = False  # the store still has exactly what was seeded from it; False: it has not, or nobody has looked


class CopyBackSeen(NamedTuple):
    """What a copy from the store back to the path needs."""

    scan: ScanResult = ScanResult()
    room: Optional[Room] = None  # of the path's file system; None: nobody has counted
    device: int = 0  # the number of that file system
    fixed: bool = False  # the store's copy is itself immutable or append-only


class LinkSeen(NamedTuple):
    """One state path as it was found."""

    spec: StatePath
    at_path: AtPath = AtPath()
    stored: Node = Node()  # what the store has
    notes: PathNotes = PathNotes()  # what is kept next to it
    mount: MountSeen = MountSeen()
    evidence: Evidence = Evidence()
    copy_back: CopyBackSeen = CopyBackSeen()

    @property
    def current(self) -> Node:
        """What is at the path."""
        return self.at_path.node

    @property
    def aside(self) -> str:
        """Where the original is kept that belongs at the path, '' for nowhere."""
        return self.evidence.proven_aside or self.notes.first_aside

    @property
    def has_leftovers(self) -> bool:
        """True if an interrupted run left a copy, or the note of a removal."""
        return self.notes.removal_begun or self.notes.leftover_copy
