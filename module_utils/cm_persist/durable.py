# SPDX-License-Identifier: Apache-2.0
"""What is written is on disk before anything relies on it. A failed fsync is fatal: the kernel may have dropped the data."""

import os
import stat

from . import syscalls
from .batches import Batches, directory_of
from .crew import Crew
from .directories import open_directory, remove_tree
from .walk import LEAF, LEAVE, walk

# File systems that a syncfs writes to disk. Of most FUSE, virtiofs, 9p and CIFS the server is not told, and it succeeds all
# the same (fs/fuse/inode.c); overlayfs did not pass on the errors of its upper layer.
SYNCED_WHOLE = ("ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "bcachefs", "zfs", "tmpfs", "nfs", "nfs4", "ceph")


def write_file(dir_fd, name, data, mode=0o600):
    """Replace a file with new content: the old or the new is there at every moment, never a part.

    Args:
        dir_fd (int): the open directory of the file.
        name (bytes): the file's name there.
        data (bytes): its whole content.
        mode (int): its permissions, as the process's umask leaves them.
    """
    beside = b"." + name + b".new"
    remove_tree(dir_fd, beside)
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=dir_fd)
    with open(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(fd)
    os.rename(beside, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
    os.fsync(dir_fd)


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

    crew = Crew(sync, lambda _number, _nothing: None)
    batches = Batches(crew)
    try:
        for step in walk(dir_fd, name):
            if step.event == LEAVE:
                batches.add(step.path, b".")
            elif step.event == LEAF and stat.S_ISREG(step.status.st_mode):
                batches.add(directory_of(step.path, step.name), step.name)
        batches.submit()
        crew.finish()
    finally:
        crew.close()


def _sync_one(name, dir_fd):
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
