# SPDX-License-Identifier: Apache-2.0
"""What uses the store's copy of a state path: a process, or a mount of it.

A tree in use must not change places with another: what the process writes, or is written through the mount, would go to the
replaced one.
"""

import os
from typing import List, NamedTuple, Union

from ..fs.dirfd import mount_id
from ..host.mounts import Mount, mounts_at_or_below, read_mounts, real_path
from ..host.processes import Process, find_process_using
from ..paths import inside


class MountUse(NamedTuple):
    """A mount of the store's copy at another place, or of something else below it."""

    mount_point: str

    def describe(self) -> str:
        """The mount, for an error."""
        return "something is mounted at {}".format(self.mount_point)

    @property
    def hint(self) -> str:
        """The hint of an error about this mount."""
        return "Unmount it (restore.yml does where the method is bind), then start again."


Use = Union[Process, MountUse, None]


def find_use(store, path: str) -> Use:
    """What uses the store's copy of a state path; None if nothing does. The store (Store) is open."""
    mounts = mounts_of(store, path, read_mounts())
    return MountUse(mounts[0]) if mounts else find_process_using(store.place(path))


def mounts_of(store, path: str, mounts: List[Mount]) -> List[str]:
    """The mount points of all mounts of a state path's copy in the store, or of parts of it, and those at it or below it; mounts
    is the mount table."""
    place, number = real_path(store.place(path)), mount_id(store.fd)
    found = mounts_at_or_below(place, mounts)
    for own in mounts:
        if own.mount_id == number and inside(place, own.mount_point):
            root = own.root.rstrip("/") + "/" + place[len(own.mount_point) :].lstrip("/")
            same = [each for each in mounts if each.device == own.device and each.mount_point != own.mount_point]
            found += [each.mount_point for each in same if inside(each.root, root) or _is_place(each, place)]
    return sorted(set(found))


def _is_place(mount, place) -> bool:
    """True if a mount shows the directory or file at a place. NFS says "/" for the root of every mount."""
    try:
        return mount.is_network and os.path.samestat(os.lstat(mount.mount_point), os.lstat(place))
    except OSError:
        return False  # one of them is not there, or may not be looked at
