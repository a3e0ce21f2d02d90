# SPDX-License-Identifier: Apache-2.0
"""What is written is on disk before anything relies on it. A failed fsync is fatal: the kernel may have dropped the data."""

import os

from .rmtree import remove_tree


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
