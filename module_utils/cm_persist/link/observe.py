# SPDX-License-Identifier: Apache-2.0
"""Look at the state paths before they are linked or taken off the store. Nothing is changed."""

import os
from typing import List, NamedTuple, Optional, Tuple

from ..fs import syscalls
from ..fs.dirfd import is_fixed
from ..fs.node import DIRECTORY, LINK, NONE, Node, ParentDir
from ..host.machine import Machine
from ..host.mounts import Mount, mount_holding, mounts_at_or_below, real_path
from ..host.processes import find_process_using
from ..original.notes import BY_UNIT, copy_name, read_mounted_by, read_notes
from ..original.pristine import created_at, find_proof, manifests_of
from ..paths import StatePath
from ..store.layout import label
from ..store.record import read_record
from ..store.store import Store
from ..tree.manifest import same_trees
from ..tree.scan import ScanResult, room_of, scan
from .restore_plan import RESTORE_ASIDE, RESTORE_NEWEST
from .seen import AtPath, CopyBackSeen, Evidence, LinkSeen, MountSeen


class Purpose(NamedTuple):
    """What an observation is for, and so how far it goes."""

    restore: str = ""  # what to restore; '' to link
    closely: bool = False  # compare and count as well, which reads the metadata of every file
    unseeded: bool = False  # take each path as if it had just been seeded: check mode, before a first run
    stopping: Tuple[str, ...] = ()  # services whose processes do not count, as they are about to be stopped


def see_path(parent: ParentDir, spec: StatePath, stored: Optional[Node], mounts: List[Mount], mounted_by: str) -> LinkSeen:
    """One state path after a single look: what is at it, and what is mounted there. stored is None without a store; mounted_by is
    as read_mounted_by() gives it."""
    current, own_mount = parent.look(), real_path(spec.path)
    below = mounts_at_or_below(spec.path, mounts) if current.real else []
    same = current.real and stored is not None and (current.device, current.inode) == (stored.device, stored.inode)
    # A mount of ours holds on to a store that is itself unmounted.
    bound = own_mount in below and (same or (stored is None and bool(mounted_by)))
    return LinkSeen(
        spec,
        AtPath(current, is_store_copy=same and not bound),
        stored or Node(),
        mount=MountSeen(bound, mounted_by, others=tuple(mount for mount in below if not (bound and mount == own_mount))),
    )


class Observer:
    """Looks at state paths for one purpose; the store is open, None without one, and lies on store_mount."""

    def __init__(
        self, store: Optional[Store], store_mount: Optional[Mount], machine: Machine, image_manifest: str, purpose: Purpose
    ):
        self._store, self._store_mount, self._systemd = store, store_mount, machine.systemd
        self._mounts, self._image_manifest, self._purpose = machine.mounts(), image_manifest, purpose

    def observe(self, specs: List[StatePath]) -> Tuple[str, List[LinkSeen]]:
        """The store's state, and each state path as it is now."""
        if self._store is None:
            return "absent", [self._observe_path(spec, None) for spec in specs]
        has_books = self._store.state_fd is not None
        record = read_record(self._store.state_fd, self._store.state_path) if has_books else None
        known = record or {}
        seen = [self._observe_path(spec, known.get(spec.key)) for spec in specs]
        if any(path.stored.real and path.spec.key not in known for path in seen):
            return "partial", seen
        return ("empty" if record is None else "seeded"), seen

    def _observe_path(self, spec, entry) -> LinkSeen:
        with ParentDir(spec.path) as parent:
            stored = self._store.look(spec.relative) if self._store else None
            seen = see_path(parent, spec, stored, self._mounts, read_mounted_by(parent))
            seen = seen._replace(notes=read_notes(parent, self._image_manifest))
            if parent.fd is None:
                return self._with_mount(seen)
            pretended = self._purpose.unseeded and seen.current.real and not seen.stored.real
            name = entry["manifest"] if entry else None
            if pretended:
                seen, name = seen._replace(stored=seen.current), label(spec.path)
            elif self._purpose.unseeded and spec.missing == "make" and seen.current.kind == seen.stored.kind == NONE:
                seen = seen._replace(stored=Node(DIRECTORY))
            holding = mount_holding(parent.directory, self._mounts)
            created = created_at(holding.mount_point) if holding and holding.is_overlay and self._purpose.closely else 0
            seeded = self._store.manifest_path(name) if name else ""
            manifests = manifests_of(parent, self._image_manifest, seeded, created)
            overlay, writable = bool(holding and holding.is_overlay), os.access(parent.directory, os.W_OK | os.X_OK)
            at_path = seen.at_path._replace(overlay=overlay, writable=writable)
            seen = self._with_mount(seen._replace(at_path=at_path, evidence=Evidence(manifests)), self._find_hidden(spec))
            return self._look_closely(parent, seen, pretended) if self._purpose.closely else seen

    def _find_hidden(self, spec) -> Tuple[str, ...]:
        if self._store is None or spec.method != "bind":
            return ()
        stored_path = self._store.place(spec.path)
        return tuple(mount for mount in mounts_at_or_below(stored_path, self._mounts) if mount != real_path(stored_path))

    def _with_mount(self, seen, hidden=()):
        may_mount = seen.spec.method != "bind" or syscalls.may_mount()
        return seen._replace(mount=seen.mount._replace(hidden=hidden, may_mount=may_mount, unit=self._find_unit(seen)))

    def _find_unit(self, seen):
        # What a container's start has mounted, it mounts again; systemd is for what is mounted first while it runs.
        mount, linking = seen.mount, not self._purpose.restore
        is_for_unit = seen.spec.method == "bind" and linking and (not mount.bound or mount.mounted_by == BY_UNIT)
        if not is_for_unit or not self._systemd.runs():
            return None
        network = self._systemd.waits_for_network(self._store_mount)
        return self._systemd.observe_mount(seen.spec.path, self._store.place(seen.spec.path), network)

    def _look_closely(self, parent, seen, pretended):
        restore = self._purpose.restore
        own = seen.current.real and not seen.mount.bound and not seen.notes.removal_begun
        seen = seen._replace(at_path=seen.at_path._replace(used_by=self._find_process(seen, own)))
        if own and not restore:
            return _compare(parent, seen, pretended)
        if not restore and seen.current.kind == NONE and seen.notes.last_aside:
            found = find_proof(seen.evidence.manifests, parent, seen.notes.asides[-1].name)[1]
            return seen._replace(evidence=seen.evidence._replace(difference=found))
        if restore == RESTORE_ASIDE:
            return seen._replace(evidence=_find_original(parent, seen))
        if restore == RESTORE_NEWEST and self._is_unwritten(parent, seen):
            return seen._replace(evidence=seen.evidence._replace(proven_aside=seen.notes.last_aside, unwritten=True))
        if restore and seen.stored.real and not (own and not seen.mount.mounted_by):
            return seen._replace(copy_back=self._count(parent, seen))
        return seen

    def _find_process(self, seen, own):
        # Using what will be moved, or copied back, or copied to.
        paths = [seen.spec.path] if own else []
        if self._purpose.restore and self._store is not None:
            paths.append(self._store.place(seen.spec.path))
        return find_process_using(*paths, stopping=self._purpose.stopping) if paths else None

    def _is_unwritten(self, parent, seen) -> bool:
        if seen.current.kind != LINK or not seen.notes.last_aside or not seen.stored.real:
            return False
        with self._store.parent_of(seen.spec.relative) as stored:
            return same_trees((parent.fd, seen.notes.asides[-1].name), stored)

    def _count(self, parent, seen) -> CopyBackSeen:
        with self._store.parent_of(seen.spec.relative) as (stored_fd, name):
            counted = scan(stored_fd, name, self._store.place(seen.spec.path), 0)
            fixed = is_fixed(name, stored_fd)
        leftover = ScanResult()
        if seen.notes.leftover_copy:  # which is removed before the copy
            leftover = scan(parent.fd, copy_name(parent.name), seen.spec.path, 0)
        return CopyBackSeen(counted, room_of(os.fstatvfs(parent.fd), leftover), os.fstat(parent.fd).st_dev, fixed)


def _compare(parent, seen, pretended) -> LinkSeen:
    node = parent.look_inside()
    empty = node.empty if node.kind == DIRECTORY else os.stat(parent.name, dir_fd=parent.fd, follow_symlinks=False).st_size == 0
    manifests = seen.evidence.manifests
    proof, found = find_proof(manifests[:-1] if pretended else manifests, parent)
    if proof is None and pretended:  # the last is yet to be written, and will list what is there
        proof, found = manifests[-1], None
    evidence = seen.evidence._replace(proof=proof, difference=found, compared=True)
    return seen._replace(at_path=seen.at_path._replace(node=node, empty=empty), evidence=evidence)


def _find_original(parent, seen) -> Evidence:
    # An earlier tool may have taken the first name, or an application's content may have got it.
    evidence, found = seen.evidence, None
    for aside in seen.notes.asides:
        if aside.real:
            proof, differs = find_proof(evidence.manifests, parent, aside.name)
            if proof is not None:
                return evidence._replace(proven_aside=aside.path)
            found = found or differs
    return evidence._replace(difference=found)
