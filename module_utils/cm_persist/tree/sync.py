# SPDX-License-Identifier: Apache-2.0
"""Put a tree on disk: one syncfs, or an fsync of each."""

import errno
import os
import stat

from ..fs import syscalls
from ..fs.dirfd import OPEN_DIRECTORY, DirectoryStack, list_kinds, open_directory, open_quietly
from .workers import Batcher, WorkerPool

# File systems that a syncfs writes to disk. Of most FUSE, virtiofs, 9p and CIFS the server is not told, and it succeeds all
# the same (fs/fuse/inode.c); overlayfs did not pass on the errors of its upper layer.
SYNCED_WHOLE = ("ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "bcachefs", "zfs", "tmpfs", "nfs", "nfs4", "ceph")


def sync_tree(dir_fd, name, release, fs_type):
    """Put a tree with all its files and directories on disk.

    One syncfs where it is known to reach the disk and the kernel tells of its failures, else an fsync of every file and
    directory: before Linux 5.8 syncfs returned success whatever happened to the data.

    Args:
        dir_fd (int): the open directory that holds the tree.
        name (bytes): the tree's name there.
        release (str): the kernel's release, as in uname -r.
        fs_type (str): the file system, as the mount table names it; '' if it is not known.
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
    # Each of them may have to wait for a disk or a server: a crew waits for many at a time.
    def sync(batch):
        for directory, names in batch:
            directory_fd = open_directory(dir_fd, name + b"/" + directory if directory else b"", "")
            try:
                for each in names:
                    _sync_one(each, directory_fd)
            finally:
                os.close(directory_fd)

    crew = WorkerPool(sync, lambda _number, _nothing: None)
    batches = Batcher(crew)
    try:
        for directory, names in _listed(dir_fd, name):
            for each in names:
                batches.add(directory, each)
        batches.submit()
        crew.finish()
    finally:
        crew.close()


def _listed(dir_fd, name):
    """Yield (directory, names) of all that is to be synced: files by their names, a directory as b'.' in itself.

    A copy of ours that nobody else writes to is not looked at again: where a look waits for a server, that is most of the time.
    """
    mode = os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_mode
    if not stat.S_ISDIR(mode):
        yield b"", [name] if stat.S_ISREG(mode) else []
        return
    stack = DirectoryStack(dir_fd)
    trail = [(b"", [name])]  # (of a directory its path, names of directories in it that are still to be listed)
    try:
        while trail:
            above, names = trail[-1]
            if not names:
                trail.pop()
                if trail:
                    stack.pop()
                continue
            child = names.pop()
            path = b"." if len(trail) == 1 else child if above == b"." else above + b"/" + child
            stack.push(open_quietly(child, OPEN_DIRECTORY, stack.fd))  # its time of access is part of the copy
            directories, files = list_kinds(stack.fd)
            yield path, files
            yield path, [b"."]
            trail.append((path, directories))
    finally:
        stack.close()


def _sync_one(name, dir_fd):
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        if name != b"." and not stat.S_ISREG(os.fstat(fd).st_mode):  # its directory said that it is
            raise OSError(errno.ESTALE, "its directory calls it a file, and it is none", name)
        os.fsync(fd)
    finally:
        os.close(fd)
