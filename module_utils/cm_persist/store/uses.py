# SPDX-License-Identifier: Apache-2.0
"""What uses the store's copy of a state path: a process, or a mount of it.

A tree in use must not change places with another: what the process writes, or is written through the mount, would go to the
replaced one.
"""

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
            found += [each.mount_point for each in mounts if each.device == own.device and inside(each.root, root)]
    return sorted(set(found))
