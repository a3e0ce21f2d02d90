# SPDX-License-Identifier: Apache-2.0
"""Look at the state paths before they are linked or taken off the store. Nothing is changed."""

import os
from typing import NamedTuple, Optional, Tuple

from ..fs import syscalls
from ..fs.node import DIRECTORY, LINK, NONE, Node, ParentDir
from ..host.mounts import Mount, mount_holding, mounts_at_or_below, real_path
from ..host.processes import find_process_using
from ..host.systemd import Systemd
from ..original.notes import BY_UNIT, asides, copy_name, read_mounted_by, removal_name
from ..original.pristine import difference, find_proof, is_as_seeded, manifests_of
from ..store.layout import MANIFESTS, label
from ..store.record import read_record
from ..tree.scan import ScanResult, scan
from .plan import LinkSeen
from .restore import ASIDE, NEWEST, STORE


class Look(NamedTuple):
    """How to look.

    mounts is the mount table (list of Mount); image_manifest the path (str) of what lists the image; store_mount the Mount
    that the store lies on; restore is '' to link, else what to restore; closely says to compare and to count as well, which
    reads the metadata of everything; unseeded says that paths are to be taken as if they had been seeded just now; stopping are
    services whose use of a path is none, as they are about to be stopped.
    """

    mounts: list
    systemd: Systemd
    image_manifest: str
    store_mount: Optional[Mount] = None
    restore: str = ""
    closely: bool = False
    unseeded: bool = False
    stopping: Tuple[str, ...] = ()


def observe(store, specs, look):
    """Look at each state path.

    Args:
        store (Store): open; None where there is none.
        specs (list of StatePath): the state paths.
        look (Look): how.

    Returns:
        tuple: (str, list of LinkSeen), the store's state and what is at the paths.
    """
    if store is None:
        return "absent", [_see_path(None, spec, None, look) for spec in specs]
    record = None if store.state_fd is None else read_record(store.state_fd, store.state_path)
    seen = [_see_path(store, spec, (record or {}).get(spec.key), look) for spec in specs]
    real = [path for path in seen if path.stored.real and path.spec.key not in (record or {})]
    if record is None:
        return ("partial" if real else "empty"), seen
    return ("partial" if real else "seeded"), seen


def _see_path(store, spec, entry, look):
    with ParentDir(spec.path) as image:
        stored, current = store.look(spec.relative) if store else Node(), image.look()
        if image.fd is None:
            seen = LinkSeen(spec, current, stored, free_aside=spec.path + "-initial", may_mount=syscalls.may_mount())
            return seen._replace(unit=_see_unit(store, seen, look))
        seeded = _seed_manifest(store, entry["manifest"] if entry else None)
        if look.unseeded and spec.missing == "make" and current.kind == stored.kind == NONE:
            stored = Node(DIRECTORY)
        pretended = look.unseeded and current.real and not stored.real
        if pretended:
            stored, seeded = current, _seed_manifest(store, label(spec.path))
        below = mounts_at_or_below(spec.path, look.mounts) if current.real else []
        mounter = read_mounted_by(image)
        same = current.real and not pretended and (current.device, current.inode) == (stored.device, stored.inode)
        # A mount of ours holds on to a store that is itself unmounted.
        bound = real_path(spec.path) in below and (same or (store is None and bool(mounter)))
        holding = mount_holding(image.directory, look.mounts)
        taken, free = asides(image)
        seen = LinkSeen(
            spec=spec,
            current=current,
            stored=stored,
            manifests=manifests_of(image, look.image_manifest, seeded),
            aside=_beside(image, taken[0]) if taken and image.look(taken[0]).real else "",
            last_aside=_beside(image, taken[-1]) if taken and image.look(taken[-1]).real else "",
            free_aside=_beside(image, free),
            removing=image.look(removal_name(image.name)).kind != NONE,
            leftover_copy=image.look(copy_name(image.name)).kind != NONE,
            bound=bound,
            mounter=mounter,
            mounts=tuple(mount for mount in below if not (bound and mount == real_path(spec.path))),
            same=same and not bound,
            hidden=_mounts_in_store(store, spec, look),
            overlay=holding is not None and holding.is_overlay,
            may_mount=spec.method != "bind" or syscalls.may_mount(),
            writable=os.access(image.directory, os.W_OK | os.X_OK),
        )
        seen = seen._replace(unit=_see_unit(store, seen, look))
        return _look_closely(store, image, seen, look, pretended) if look.closely else seen


def _see_unit(store, seen, look):
    # What a container's start has mounted, it mounts again; systemd is for what begins while it runs.
    mine = seen.spec.method == "bind" and not look.restore and (not seen.bound or seen.mounter == BY_UNIT)
    if not mine or not look.systemd.runs():
        return None
    network = look.systemd.waits_for_network(look.store_mount)
    return look.systemd.look(seen.spec.path, store.place(seen.spec.path), network)


def _mounts_in_store(store, spec, look):
    if store is None or spec.method != "bind":
        return ()
    place = store.place(spec.path)
    return tuple(mount for mount in mounts_at_or_below(place, look.mounts) if mount != real_path(place))


def _look_closely(store, image, seen, look, pretended):
    own = seen.current.real and not seen.bound and not seen.removing
    seen = seen._replace(user=_find_process_using(store, seen, look, own))
    if own and not look.restore:
        seen = seen._replace(current=image.look_inside(), empty=_is_empty(image))
        proof, found = find_proof(seen.manifests[:-1] if pretended else seen.manifests, image)
        if proof is None and pretended:  # the last is yet to be written, and will list what is there
            proof, found = seen.manifests[-1], None
        return seen._replace(proof=proof, difference=found)
    if not look.restore and seen.current.kind == NONE and seen.last_aside:
        kept = os.fsencode(os.path.basename(seen.last_aside))
        return seen._replace(difference=find_proof(seen.manifests, image, kept)[1])
    if look.restore == ASIDE:
        return _find_original(image, seen)
    if look.restore == NEWEST and _is_unwritten(store, image, seen):
        return seen._replace(aside=seen.last_aside, unwritten=True)
    if look.restore in (STORE, NEWEST) and seen.stored.real and not (own and not seen.mounter):
        return _count(store, image, seen)
    return seen


def _is_unwritten(store, image, seen):
    seeded = next((manifest for manifest in seen.manifests if not manifest.of_image), None)
    if seen.current.kind != LINK or not seen.last_aside or seeded is None:
        return False
    kept = os.fsencode(os.path.basename(seen.last_aside))
    return difference(seeded, image, kept) is None and is_as_seeded(store, seen.spec, os.path.basename(seeded.file))


def _find_process_using(store, seen, look, own):
    # Of what will be moved, or copied back, or copied to.
    places = [seen.spec.path] if own else []
    if look.restore and store is not None:
        places.append(store.place(seen.spec.path))
    return find_process_using(*places, stopping=look.stopping) if places else None


def _is_empty(image):
    place = image.look_inside()
    return place.empty if place.kind == DIRECTORY else os.stat(image.name, dir_fd=image.fd, follow_symlinks=False).st_size == 0


def _find_original(image, seen):
    # An earlier tool may have taken the first name, or an application's content may have got it.
    found = None
    for name in asides(image)[0]:
        if image.look(name).real:
            proof, difference = find_proof(seen.manifests, image, name)
            if proof is not None:
                return seen._replace(aside=_beside(image, name))
            found = found or difference
    return seen._replace(difference=found)


def _count(store, image, seen):
    parent = store.open_parent(seen.spec.relative)
    name = os.path.basename(seen.spec.relative)
    try:
        counted = scan(parent, name, store.place(seen.spec.path), 0)
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
        try:
            fixed = bool(syscalls.get_flags(fd) & (syscalls.FLAG_IMMUTABLE | syscalls.FLAG_APPEND))
        finally:
            os.close(fd)
    finally:
        os.close(parent)
    space = os.fstatvfs(image.fd)
    # btrfs counts no inodes.
    back = (
        scan(image.fd, copy_name(image.name), seen.spec.path, 0) if seen.leftover_copy else ScanResult()
    )  # removed before the copy
    inodes = space.f_favail + back.inodes if space.f_files else None
    room = os.fstat(image.fd).st_dev, space.f_bavail * space.f_frsize + back.space, inodes
    return seen._replace(scan=counted, room=room, fixed=fixed)


def _seed_manifest(store, name):
    return os.path.join(store.state_path, os.fsdecode(MANIFESTS), name) if name else ""


def _beside(image, name):
    return os.path.join(image.directory, os.fsdecode(name))
