# SPDX-License-Identifier: Apache-2.0
"""Write a tree to disk: by one syncfs, or by an fsync of each file and directory."""

import contextlib
import errno
import os
import stat
from typing import Iterator, List, Tuple

from ..fs import syscalls
from ..fs.dirfd import OPEN_DIRECTORY, DirectoryStack, Opened, list_kinds, open_directory, open_quietly
from .walk import path_in
from .workers import Batcher, WorkerPool

# File systems where syncfs reaches the disk. For most FUSE, virtiofs, 9p and CIFS the kernel does not pass it on to the server,
# and it succeeds (fs/fuse/inode.c); overlayfs did not pass on the errors of its upper layer.
SYNCED_WHOLE = ("ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "bcachefs", "zfs", "tmpfs", "nfs", "nfs4", "ceph")


def sync_tree(dir_fd: int, name: bytes, release: str, fs_type: str) -> None:
    """Write the tree with this name in an open directory to disk, and the directory's own names.

    By one syncfs if that reaches the disk of this fs_type ('' if it is not known) and the kernel with this release (uname -r)
    reports its failures: before Linux 5.8 it returned success whatever happened to the data.
    """
    if syscalls.syncfs_reports_errors(release) and fs_type in SYNCED_WHOLE:
        try:
            syscalls.syncfs(dir_fd)
            return
        except OSError as error:
            if error.errno not in syscalls.UNAVAILABLE:
                raise
    _sync_each(dir_fd, name)
    os.fsync(dir_fd)


def _sync_each(dir_fd, name):
    # Each fsync may wait for a disk or a server: the workers wait for many at a time.
    def sync(batch):
        for directory, names in batch:
            with Opened(open_directory(dir_fd, name + b"/" + directory if directory else b"", "")) as directory_fd:
                for each in names:
                    _sync_one(each, directory_fd)

    with contextlib.closing(WorkerPool(sync, lambda _number, _nothing: None)) as pool:
        batches = Batcher(pool)
        for directory, names in _files_and_directories(dir_fd, name):
            for each in names:
                batches.add(directory, each)
        batches.submit()
        pool.finish()


def _files_and_directories(dir_fd, name) -> Iterator[Tuple[bytes, List[bytes]]]:
    """Directories with the names to sync in each: files by their names, the directory itself as b'.'.

    The tree is our own copy, which nobody else changes, so files are not stat'ed: where a stat waits for a server, that would
    take most of the time.
    """
    mode = os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_mode
    if not stat.S_ISDIR(mode):
        yield b"", [name] if stat.S_ISREG(mode) else []
        return
    with contextlib.closing(DirectoryStack(dir_fd)) as stack:
        stack.note = b"", [name]
        while stack.depth or stack.note[1]:
            above, names = stack.note
            if names:
                child = names.pop()
                path = path_in(above, child)
                stack.push(open_quietly(child, OPEN_DIRECTORY, stack.fd))  # its access time is part of the copy
                directories, files = list_kinds(stack.fd)
                stack.note = path, directories
                yield path, files
                yield path, [b"."]
            else:
                stack.pop()


def _sync_one(name, dir_fd):
    with Opened(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)) as fd:
        if name != b"." and not stat.S_ISREG(os.fstat(fd).st_mode):  # its directory said that it is
            raise OSError(errno.ESTALE, "its directory calls it a file, and it is none", name)
        os.fsync(fd)
