# SPDX-License-Identifier: Apache-2.0
"""What belongs to a file besides its data: owner, extended attributes (ACLs, capabilities), mode, times, flags."""

import errno
import os
import stat

from ..errors import CopyError, because
from ..fs import syscalls
from ..fs.dirfd import change_mode

NO_ATTRIBUTES = (errno.EOPNOTSUPP, errno.ENOSYS)  # this file system, or this kind of inode, has none
# Given out by the machine's policy or by the server, not by whoever wrote the file: another file system has its own.
LABELS = ("security.selinux", "system.nfs4_acl")
# What xfs shows of an ACL a second time; elsewhere it would be an attribute that nobody reads.
ALIASES = ("trusted.SGI_ACL_FILE", "trusted.SGI_ACL_DEFAULT")


def copy_metadata(source, target, status, path, atime_ns=None):
    """Give a copy everything that its source has, times last.

    The order matters: chown drops set-user-ID and capabilities, so it goes first; writing an ACL changes the mode's
    group bits, so the mode comes after it; whatever touches the inode changes its times.

    Args:
        source, target (int or bytes): open descriptors, or for what must not be opened a name under /proc/self/fd.
        status (os.stat_result): of the source, from before it was read.
        path (str or Where): the source, for errors.
        atime_ns (int): the source's time of access, in nanoseconds, if the status was taken too late to tell it.

    Returns:
        set of str: attributes of LABELS that the target did not take.

    Raises:
        CopyError: the target's file system cannot hold one of them, or this process may not set it.
    """
    by_name = isinstance(target, bytes)
    step = "owner"
    try:
        os.chown(target, status.st_uid, status.st_gid, **_nofollow(by_name))
        unlabelled = _copy_attributes(source, target, path, **_nofollow(by_name))
        step = "mode"
        if not stat.S_ISLNK(status.st_mode):
            (change_mode if by_name else os.chmod)(target, stat.S_IMODE(status.st_mode))
        step = "times"
        times = status.st_atime_ns if atime_ns is None else atime_ns, status.st_mtime_ns
        os.utime(target, ns=times, **_nofollow(by_name))
        step = "owner, mode or times"
        _check_kept(os.stat(target, **_nofollow(by_name)), status, times)
    except OSError as error:
        said = {"owner": " {}:{}".format(status.st_uid, status.st_gid), "mode": " {:04o}".format(stat.S_IMODE(status.st_mode))}
        what = step + said.get(step, "")
        raise CopyError(path, "the {} cannot be set on its copy: {}".format(what, because(error)), _remedy(error)) from error
    return unlabelled


def keeps_nanoseconds(fd):
    """bool: whether the file system of an open directory of ours keeps times to the nanosecond."""
    os.utime(fd, ns=(1, 1))
    return os.fstat(fd).st_mtime_ns == 1


def drop_default_acl(fd):
    """Take from a directory the ACL that it would hand down to what is made in it."""
    try:
        os.removexattr(fd, "system.posix_acl_default")
    except OSError as error:
        # None there, or a file system without any.
        if error.errno != errno.ENODATA and error.errno not in NO_ATTRIBUTES:
            raise


def set_flags(fd, flags, path):
    """Set inode flags on a copy.

    Args:
        fd (int): the open copy.
        flags (int): as syscalls.get_flags() gave them.
        path (str or Where): the source, for errors.

    Raises:
        CopyError: the file system has no such flags, or this process may not set them.
    """
    try:
        syscalls.set_flags(fd, flags)
    except OSError as error:
        raise CopyError(
            path, "its flags (lsattr) cannot be set on its copy: {}".format(because(error)), _remedy(error)
        ) from error


def _copy_attributes(source, target, path, **nofollow):
    try:
        names = os.listxattr(source, **nofollow)
    except OSError as error:
        if error.errno in NO_ATTRIBUTES:
            return set()
        raise
    unlabelled = set()
    for name in names:
        if name in ALIASES:
            continue
        try:
            value = os.getxattr(source, name, **nofollow)
        except OSError as error:
            raise CopyError(path, "attribute {} cannot be read: {}".format(name, because(error)), _remedy(error)) from error
        try:
            os.setxattr(target, name, value, **nofollow)
        except OSError as error:
            if _has_attribute(target, name, value, **nofollow):
                continue
            if name in LABELS and error.errno in (errno.EPERM, errno.EACCES, *NO_ATTRIBUTES):
                unlabelled.add(name)
            else:
                raise CopyError(
                    path, "attribute {} cannot be set on its copy: {}".format(name, because(error)), _remedy(error)
                ) from error
    return unlabelled


def _has_attribute(target, name, value, **nofollow):
    # A security label may be the kernel's to give: right already is as good as set.
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
    # utimensat(2) sets the nearest that there is room for. Lost fractions are told of elsewhere.
    for have, want in zip((found.st_atime_ns, found.st_mtime_ns), times):
        if have // 10**9 != want // 10**9:
            raise OSError(errno.ERANGE, "the file system has no room for {} seconds since 1970".format(want // 10**9))


def _nofollow(by_name):
    return {"follow_symlinks": False} if by_name else {}


def _remedy(error):
    if error.errno in (errno.EPERM, errno.EACCES):
        needed = "CHOWN, DAC_OVERRIDE, FOWNER, FSETID, LINUX_IMMUTABLE, MKNOD and SETFCAP"
        return "Run as root (become: true), with the capabilities {}; NFS must export with no_root_squash.".format(needed)
    return "The file system of the copy must hold it (ext4, xfs and btrfs do), or take it off the original."
