# SPDX-License-Identifier: Apache-2.0
"""The metadata of a file: owner, extended attributes (ACLs, capabilities), mode, times, flags."""

import errno
import os
import stat
from typing import Optional, Set

from ..errors import CopyError, because
from ..fs import syscalls
from ..fs.dirfd import change_mode

NO_ATTRIBUTES = (errno.EOPNOTSUPP, errno.ENOSYS)  # this file system, or this kind of inode, has none
# Assigned by the policy of the machine or by the server, not by the program that wrote the file: another file system has its own.
LABELS = ("security.selinux", "system.nfs4_acl")
# xfs shows an ACL a second time under these names; on another file system no program would read them.
ALIASES = ("trusted.SGI_ACL_FILE", "trusted.SGI_ACL_DEFAULT")


def copy_metadata(source, target, status: os.stat_result, path, atime_ns: Optional[int] = None) -> Set[str]:
    """Give a copy all metadata of its source but the flags.

    The order matters: chown drops set-user-ID and capabilities, so it goes first; writing an ACL changes the group bits of the
    mode, so the mode comes after it; each of these calls changes the times, so they come last.

    Source and target are descriptors, or, for files that must not be opened, paths (bytes) below /proc/self/fd; path (str or
    Where) is that of the source, for errors. status is the source's from before it was read; if it is from afterwards, atime_ns
    is the access time, in nanoseconds. Returns the attributes of LABELS that the target did not take. It is a CopyError if the
    file system of the target cannot hold another one, or this process may not set it.
    """
    by_name = isinstance(target, bytes)
    nofollow = {"follow_symlinks": False} if by_name else {}
    mode = stat.S_IMODE(status.st_mode)
    step = "owner {}:{}".format(status.st_uid, status.st_gid)
    try:
        os.chown(target, status.st_uid, status.st_gid, **nofollow)
        unlabelled = _copy_attributes(source, target, path, **nofollow)
        step = "mode {:04o}".format(mode)
        if not stat.S_ISLNK(status.st_mode):
            (change_mode if by_name else os.chmod)(target, mode)
        step = "times"
        times = status.st_atime_ns if atime_ns is None else atime_ns, status.st_mtime_ns
        os.utime(target, ns=times, **nofollow)
        step = "owner, mode or times"
        _check_kept(os.stat(target, **nofollow), status, times)
    except OSError as error:
        raise CopyError(path, "the {} cannot be set on its copy: {}".format(step, because(error)), _remedy(error)) from error
    return unlabelled


def keeps_nanoseconds(fd: int) -> bool:
    """True if the file system of an open directory, whose times do not matter, keeps times to the nanosecond."""
    os.utime(fd, ns=(1, 1))
    return os.fstat(fd).st_mtime_ns == 1


def drop_default_acl(fd: int) -> None:
    """Remove the default ACL of an open directory, which new files in it would inherit."""
    try:
        os.removexattr(fd, "system.posix_acl_default")
    except OSError as error:
        # It has none, or its file system has no ACLs.
        if error.errno != errno.ENODATA and error.errno not in NO_ATTRIBUTES:
            raise


def set_flags(fd: int, flags: int, path) -> None:
    """Set inode flags on an open copy, as syscalls.get_flags() returns them; a CopyError at the source's path if that fails."""
    try:
        syscalls.set_flags(fd, flags)
    except OSError as error:
        found = "its flags (lsattr) cannot be set on its copy: {}".format(because(error))
        raise CopyError(path, found, _remedy(error)) from error


def _copy_attributes(source, target, path, **nofollow):
    try:
        names = os.listxattr(source, **nofollow)
    except OSError as error:
        if error.errno in NO_ATTRIBUTES:
            return set()
        raise
    unlabelled = set()
    for name in names:
        if name not in ALIASES and not _copy_attribute(source, target, name, path, **nofollow):
            unlabelled.add(name)
    return unlabelled


def _copy_attribute(source, target, name, path, **nofollow):
    """Copy one attribute; False if it is one of LABELS, and the target did not take it."""
    try:
        value = os.getxattr(source, name, **nofollow)
    except OSError as error:
        raise CopyError(path, "attribute {} cannot be read: {}".format(name, because(error)), _remedy(error)) from error
    try:
        os.setxattr(target, name, value, **nofollow)
        return True
    except OSError as error:
        if _has_attribute(target, name, value, **nofollow):
            return True
        if name in LABELS and error.errno in (errno.EPERM, errno.EACCES, *NO_ATTRIBUTES):
            return False
        found = "attribute {} cannot be set on its copy: {}".format(name, because(error))
        raise CopyError(path, found, _remedy(error)) from error


def _has_attribute(target, name, value, **nofollow):
    # Only the kernel may set some security labels: the right one may be there already.
    try:
        return os.getxattr(target, name, **nofollow) == value
    except OSError:
        return False


def _check_kept(found, status, times):
    # Some file systems (CIFS, FUSE to an object store) accept what they then do not keep.
    if (found.st_uid, found.st_gid) != (status.st_uid, status.st_gid):
        raise OSError(errno.EOPNOTSUPP, "the file system keeps another owner, {}:{}".format(found.st_uid, found.st_gid))
    if not stat.S_ISLNK(status.st_mode) and found.st_mode != status.st_mode:
        raise OSError(errno.EOPNOTSUPP, "the file system keeps another mode, {:04o}".format(stat.S_IMODE(found.st_mode)))
    # utimensat(2) sets the nearest time that there is room for. For lost fractions there is a warning, Copied.coarse_times.
    for have, want in zip((found.st_atime_ns, found.st_mtime_ns), times):
        if have // 10**9 != want // 10**9:
            raise OSError(errno.ERANGE, "the file system has no room for {} seconds since 1970".format(want // 10**9))


def _remedy(error):
    if error.errno in (errno.EPERM, errno.EACCES):
        needed = "CHOWN, DAC_OVERRIDE, FOWNER, FSETID, LINUX_IMMUTABLE, MKNOD and SETFCAP"
        return "Run as root (become: true), with the capabilities {}; NFS must export with no_root_squash.".format(needed)
    return "The file system of the copy must hold it (ext4, xfs and btrfs do), or take it off the original."
