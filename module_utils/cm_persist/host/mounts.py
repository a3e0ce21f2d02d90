# SPDX-License-Identifier: Apache-2.0
"""The kernel's mount table: proc(5), /proc/[pid]/mountinfo."""

import os
import re
from typing import Callable, List, NamedTuple, Optional, Tuple

from ..errors import StoreError
from ..fs.dirfd import Opened, mount_id
from ..paths import inside

MOUNTINFO = "/proc/self/mountinfo"
EPHEMERAL_TYPES = ("tmpfs", "ramfs")
NETWORK_TYPES = ("nfs", "nfs4", "cifs", "smb3", "ceph", "9p", "lustre", "afs", "ocfs2", "gfs2", "beegfs")
LOCAL_LOCKS = ("virtiofs", "9p", "vboxsf", "fuse.sshfs", "fuse.s3fs")
NETWORK_FUSE = ("fuse.glusterfs", "fuse.ceph", "fuse.sshfs", "fuse.s3fs", "fuse.juicefs")


class Mount(NamedTuple):
    """One line of the mount table. device is the file system's, as major:minor; root is the directory in it that is mounted."""

    mount_id: int
    root: str
    mount_point: str
    options: Tuple[str, ...]
    fs_type: str
    source: str
    device: str = ""

    @property
    def is_overlay(self) -> bool:
        """True for an overlay, where a directory of a lower layer cannot be renamed."""
        return self.fs_type in ("overlay", "fuse.fuse-overlayfs")

    @property
    def locks_locally(self) -> bool:
        """True if a flock succeeds but other machines do not see it (nfs(5)), such as the host of a shared directory."""
        if self.fs_type.startswith("nfs"):
            return bool({"nolock", "local_lock=all", "local_lock=flock"} & set(self.options))
        return self.fs_type in LOCAL_LOCKS

    @property
    def is_network(self) -> bool:
        """True if it needs a network."""
        return self.fs_type in NETWORK_TYPES + NETWORK_FUSE

    @property
    def dies_with_pod(self) -> str:
        """The kind of a volume whose content does not outlive the pod; '' for any other."""
        if "kubernetes.io~empty-dir" in self.root:
            return "an emptyDir"
        return "a {}".format(self.fs_type) if self.fs_type in EPHEMERAL_TYPES else ""


def read_mounts(table: str = MOUNTINFO) -> List[Mount]:
    """The mount table, in the kernel's order. It is a StoreError if it cannot be read, or has a line of another form."""
    try:
        with open(table, "rb") as lines:
            return [_parse(line) for line in lines]
    except (OSError, ValueError, IndexError) as error:
        raise StoreError(table, "the mount table cannot be read: {}".format(error), "Mount /proc, then start again.") from error


def mount_holding(
    path: str, mounts: List[Mount], mount_id_of: Optional[Callable[[str], Optional[int]]] = None
) -> Optional[Mount]:
    """The mount that holds an existing directory; None only if the table has no line for it. Tests have another mount_id_of."""
    number = (mount_id_of or _mount_id)(path)
    for mount in mounts:
        if mount.mount_id == number:
            return mount
    # Before Linux 3.15 fdinfo has no mnt_id: the longest mount point wins, among equals the last mounted.
    real = os.path.realpath(path)
    holding = [mount for mount in mounts if inside(real, mount.mount_point)]
    return max(reversed(holding), key=lambda mount: len(mount.mount_point)) if holding else None


def real_path(path: str) -> str:
    """A path as the mount table has it: without links in its directory. Its last name may be a link."""
    return os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))


def mounts_at_or_below(path: str, mounts: List[Mount]) -> List[str]:
    """The mount points at a path or below it."""
    real = real_path(path)
    return sorted({mount.mount_point for mount in mounts if inside(mount.mount_point, real)})


def _mount_id(path):
    with Opened(os.open(path, os.O_PATH | os.O_CLOEXEC)) as fd:
        return mount_id(fd)


def _parse(line):
    fields = line.rstrip(b"\n").split(b" ")  # one blank each: a source may be empty
    separator = fields.index(b"-", 6)
    options = fields[5].split(b",") + fields[separator + 3].split(b",")
    return Mount(
        mount_id=int(fields[0]),
        root=_unescape(fields[3]),
        mount_point=_unescape(fields[4]),
        options=tuple(os.fsdecode(option) for option in options),
        fs_type=os.fsdecode(fields[separator + 1]),
        source=_unescape(fields[separator + 2]),
        device=os.fsdecode(fields[2]),
    )


def _unescape(field):
    return os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda octal: bytes([int(octal.group(1), 8)]), field))
