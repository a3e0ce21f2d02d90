# SPDX-License-Identifier: Apache-2.0
"""System calls that Python does not have in every version, with a fallback where the kernel lacks one.

Functions raise OSError as the os module does. ctypes is imported at the first call: a restart needs none of them.
"""

import errno
import fcntl
import functools
import os
import platform
import signal
import struct

RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2
# Numbers for C libraries without a wrapper (glibc 2.17 of CentOS 7), from the kernel's syscall tables.
NUMBERS = {
    "renameat2": {"x86_64": 316, "aarch64": 276, "ppc64le": 357, "s390x": 347},
    "copy_file_range": {"x86_64": 326, "aarch64": 285, "ppc64le": 379, "s390x": 375},
    "statx": {"x86_64": 332, "aarch64": 291, "ppc64le": 383, "s390x": 379},
}
# The errors of a kernel, a seccomp filter or a file system that has no such call.
UNAVAILABLE = (errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOTTY)
# ioctl numbers carry the direction in their top bits, and powerpc has its own (asm/ioctl.h).
_WRITE, _READ = (0x80000000, 0x40000000) if platform.machine().startswith("ppc") else (0x40000000, 0x80000000)
FICLONE = _WRITE | 0x00049409
FS_IOC_GETFLAGS = _READ | 0x00086601
FS_IOC_SETFLAGS = _WRITE | 0x00086602
# The inode flags of chattr(1) that belong to a file and not to its file system.
FLAG_SYNC, FLAG_IMMUTABLE, FLAG_APPEND, FLAG_NODUMP, FLAG_NOATIME, FLAG_DIRSYNC = 0x8, 0x10, 0x20, 0x40, 0x80, 0x10000
FLAGS_KEPT = FLAG_SYNC | FLAG_IMMUTABLE | FLAG_APPEND | FLAG_NODUMP | FLAG_NOATIME | FLAG_DIRSYNC
MS_BIND = 0x1000
UMOUNT_NOFOLLOW = 8
PR_SET_PDEATHSIG = 1
STATX_BTIME = 0x800
STATX_SIZE, STATX_MASK_AT, STATX_BTIME_AT = 256, 0, 80  # bytes of the structure, and where in it these fields are


def rename_noreplace(source: bytes, target: bytes, source_fd: int, target_fd: int) -> None:
    """Rename, and fail with EEXIST if the target exists: renameat2(2) with RENAME_NOREPLACE.

    The names are in the open directories source_fd and target_fd. The fallback is a stat and then a rename, so the caller must
    hold a lock.
    """
    try:
        _call("renameat2", source_fd, source, target_fd, target, RENAME_NOREPLACE)
    except OSError as error:
        if error.errno not in UNAVAILABLE:
            raise
        try:
            os.stat(target, dir_fd=target_fd, follow_symlinks=False)
        except FileNotFoundError:
            os.rename(source, target, src_dir_fd=source_fd, dst_dir_fd=target_fd)
        else:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), os.fsdecode(target)) from None


def rename_exchange(one: bytes, other: bytes, one_fd: int, other_fd: int) -> None:
    """Exchange two names in one step, or fail with a number of UNAVAILABLE (NFS does): renameat2(2) with RENAME_EXCHANGE."""
    _call("renameat2", one_fd, one, other_fd, other, RENAME_EXCHANGE)


def syncfs(fd: int) -> None:
    """Write the whole file system that holds an open file to disk: syncfs(2)."""
    _call("syncfs", fd)


def syncfs_reports_errors(release: str) -> bool:
    """True if syncfs(2) of this kernel (uname -r) reports failed writes, as since Linux 5.8; False for an unknown release."""
    try:
        return tuple(int(part) for part in release.split("-")[0].split(".")[:2]) >= (5, 8)
    except ValueError:
        return False


def copy_file_range(source_fd: int, target_fd: int, count: int, offset: int) -> int:
    """Copy up to count bytes at the same offset of two files: copy_file_range(2). Their number is 0 only at the source's end."""
    if hasattr(os, "copy_file_range"):  # Python 3.8
        return os.copy_file_range(source_fd, target_fd, count, offset, offset)  # novermin
    import ctypes

    at_source, at_target = ctypes.c_int64(offset), ctypes.c_int64(offset)
    return _call("copy_file_range", source_fd, ctypes.byref(at_source), target_fd, ctypes.byref(at_target), count, 0)


def clone(source_fd: int, target_fd: int) -> None:
    """Let the target share the blocks of the source: ioctl_ficlone(2)."""
    fcntl.ioctl(target_fd, FICLONE, source_fd)


def get_flags(fd: int) -> int:
    """Those inode flags of an open file or directory that a copy keeps; 0 if its file system has none."""
    try:
        # The kernel reads and writes an int although the number says long (ioctl_iflags(2)).
        return struct.unpack("i", fcntl.ioctl(fd, FS_IOC_GETFLAGS, struct.pack("i", 0)))[0] & FLAGS_KEPT
    except OSError as error:
        if error.errno in UNAVAILABLE:
            return 0
        raise


def set_flags(fd: int, flags: int) -> None:
    """Set those inode flags that a copy keeps; those of the file system itself stay as they are."""
    current = struct.unpack("i", fcntl.ioctl(fd, FS_IOC_GETFLAGS, struct.pack("i", 0)))[0]
    fcntl.ioctl(fd, FS_IOC_SETFLAGS, struct.pack("i", current & ~FLAGS_KEPT | flags))


def bind_mount(source: bytes, target: bytes) -> None:
    """Mount a directory or file over another: mount(2) with MS_BIND."""
    _call("mount", source, target, None, MS_BIND, None)


def may_mount(status: str = "/proc/self/status") -> bool:
    """True if this process has the capability SYS_ADMIN, number 21 (capabilities(7))."""
    with open(status) as lines:
        effective = next(line.split()[1] for line in lines if line.startswith("CapEff:"))
    return bool(int(effective, 16) >> 21 & 1)


def unmount(target: bytes) -> None:
    """Unmount the topmost mount at a path: umount2(2)."""
    _call("umount2", target, UMOUNT_NOFOLLOW)


def birth_time(fd: int) -> int:
    """When an open directory was made, in nanoseconds since 1970: statx(2) with STATX_BTIME. 0 if kernel or file system do not
    know."""
    import ctypes

    status = ctypes.create_string_buffer(STATX_SIZE)
    at_empty_path = 0x1000
    try:
        _call("statx", fd, b"", at_empty_path, STATX_BTIME, status)
    except OSError as error:
        if error.errno in (*UNAVAILABLE, errno.EPERM):  # EPERM: a seccomp filter that is older than the call
            return 0
        raise
    if not struct.unpack_from("=I", status, STATX_MASK_AT)[0] & STATX_BTIME:
        return 0
    seconds, nanoseconds = struct.unpack_from("=qI", status, STATX_BTIME_AT)
    return seconds * 10**9 + nanoseconds


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent, which has this number, ends: prctl(2), PR_SET_PDEATHSIG."""
    _call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before that
        os._exit(1)


@functools.lru_cache(maxsize=None)
def library():
    """The C library (ctypes.CDLL), loaded at the first call."""
    import ctypes

    return ctypes.CDLL(None, use_errno=True)


def _call(name, *arguments):
    import ctypes

    function = getattr(library(), name, None)
    number = NUMBERS.get(name, {}).get(platform.machine())
    if function is None and number is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), name)
    # Arguments are int, bytes and pointers; a long has room for 64-bit counts and offsets.
    passed = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    while True:
        result = function(*passed) if function is not None else library().syscall(ctypes.c_long(number), *passed)
        if result >= 0:
            return result
        number_of_error = ctypes.get_errno()
        if number_of_error != errno.EINTR:
            raise OSError(number_of_error, os.strerror(number_of_error), name)
