# SPDX-License-Identifier: Apache-2.0
"""Look at the state paths before they are linked or taken off the store. Nothing is changed."""

import os
from typing import NamedTuple, Optional

from . import syscalls
from .beside import BY_UNIT, aside_name, copy_name, free_aside, read_bound, removal_name
from .evidence import find_proof, manifests_of
from .link_plan import LinkSeen
from .mounts import Mount, mount_holding, mounts_at_or_below
from .places import NONE, ImageParent, Place, label
from .record import read_record
from .restore_plan import ASIDE, STORE
from .store import MANIFESTS
from .survey import survey
from .units import Systemd


class Look(NamedTuple):
    """How to look.

    mounts is the mount table (list of Mount); image_manifest the path (str) of what lists the image; store_mount the Mount
    that the store lies on; restore is '' to link, else what to restore; closely says to compare and to count as well, which
    reads the metadata of everything; unseeded says that paths are to be taken as if they had been seeded just now.
    """

    mounts: list
    systemd: Systemd
    image_manifest: str
    store_mount: Optional[Mount] = None
    restore: str = ""
    closely: bool = False
    unseeded: bool = False


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
    with ImageParent(spec.path) as image:
        stored, current = store.look(spec.relative) if store else Place(), image.look()
        if image.fd is None:
            return LinkSeen(spec, current, stored, free_aside=spec.path + "-initial")
        seeded = _seed_manifest(store, entry["manifest"] if entry else None)
        pretended = look.unseeded and current.real and not stored.real
        if pretended:
            stored, seeded = current, _seed_manifest(store, label(spec.path))
        below = mounts_at_or_below(spec.path, look.mounts) if current.real else []
        mounter = read_bound(image)
        # A mount of ours holds on to a store that is itself unmounted.
        ours = (current.device, current.inode) == (stored.device, stored.inode) or (store is None and bool(mounter))
        bound = bool(below) and current.real and ours
        holding = mount_holding(image.directory, look.mounts)
        seen = LinkSeen(
            spec=spec,
            current=current,
            stored=stored,
            manifests=manifests_of(image, look.image_manifest, seeded),
            aside=_beside(image, aside_name(image.name)) if image.look(aside_name(image.name)).real else "",
            free_aside=_beside(image, free_aside(image)),
            removing=image.look(removal_name(image.name)).kind != NONE,
            litter=image.look(copy_name(image.name)).kind != NONE,
            bound=bound,
            mounter=mounter,
            mounts=() if bound else tuple(below),
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
    network = look.store_mount is not None and look.store_mount.is_network
    return look.systemd.look(seen.spec.path, store.place(seen.spec.path), network)


def _look_closely(store, image, seen, look, pretended):
    own = seen.current.real and not seen.bound and not seen.removing
    if own and not look.restore:
        seen = seen._replace(current=image.look_inside())
        proof, found = find_proof(seen.manifests[:-1] if pretended else seen.manifests, image)
        if proof is None and pretended:  # the last is yet to be written, and will list what is there
            proof, found = seen.manifests[-1], None
        return seen._replace(proof=proof, difference=found)
    if look.restore == ASIDE and seen.aside:
        return seen._replace(difference=find_proof(seen.manifests, image, aside_name(image.name))[1])
    if look.restore == STORE and seen.stored.real and not (own and not seen.mounter):
        parent = store.open_parent(seen.spec.relative)
        try:
            counted = survey(parent, os.path.basename(seen.spec.relative), store.place(seen.spec.path), 0)
        finally:
            os.close(parent)
        space = os.fstatvfs(image.fd)
        # btrfs counts no inodes.
        room = os.fstat(image.fd).st_dev, space.f_bavail * space.f_frsize, space.f_favail if space.f_files else None
        return seen._replace(survey=counted, room=room)
    return seen


def _seed_manifest(store, name):
    return os.path.join(store.state_path, os.fsdecode(MANIFESTS), name) if name else ""


def _beside(image, name):
    return os.path.join(image.directory, os.fsdecode(name))
