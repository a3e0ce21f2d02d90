# SPDX-License-Identifier: Apache-2.0
"""Make missing directories, each with its owner and mode before it has its name, and each durable."""

import os
from typing import Callable, Tuple

from .dirfd import OPEN_DIRECTORY, Opened, open_directory
from .rmtree import remove_tree

OwnerAndMode = Tuple[int, int, int]  # uid, gid, mode


def make_directories(top_fd: int, relative: bytes, top: str, model: Callable[[bytes], OwnerAndMode]) -> int:
    """Open a directory below another as open_directory() does, and make each missing directory on the way.

    model gives owner and mode for the relative path of a missing directory.
    """
    return open_directory(top_fd, relative, top, lambda fd, name, path: _make(fd, name, model(path)))


def make_parents(path: str, model: Callable[[str], OwnerAndMode]) -> None:
    """Make the missing directories above an absolute path; model gives owner and mode for the path of each."""
    directory = os.path.dirname(path)
    existing = nearest_directory(directory)
    if existing == directory:
        return
    missing = os.fsencode(os.path.relpath(directory, existing))
    with Opened(os.open(existing, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as fd:
        os.close(make_directories(fd, missing, existing, lambda below: model(os.path.join(existing, os.fsdecode(below)))))


def nearest_directory(path: str) -> str:
    """The path itself if it is a directory, otherwise the nearest one above it."""
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return path


def _make(dir_fd, name, owner_and_mode):
    # Owner and mode first, the name last: after a crash no directory has the wrong owner or mode.
    uid, gid, mode = owner_and_mode
    temporary = b".cm_persist-" + name[:200]
    remove_tree(dir_fd, temporary)
    os.mkdir(temporary, 0o700, dir_fd=dir_fd)
    with Opened(os.open(temporary, OPEN_DIRECTORY, dir_fd=dir_fd)) as made:
        os.fchown(made, uid, gid)
        os.fchmod(made, mode)
        os.fsync(made)
    os.rename(temporary, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
    os.fsync(dir_fd)
