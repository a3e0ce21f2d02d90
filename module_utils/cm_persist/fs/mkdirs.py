# SPDX-License-Identifier: Apache-2.0
"""Make directories, durable, owner first."""

import os

from .dirfd import OPEN_DIRECTORY, _components, _open_component, lstat
from .rmtree import remove_tree


def make_directories(top_fd, relative, top, model):
    """Open a directory below another, making what is missing on the way, and make each of them durable.

    Args:
        top_fd (int): the open directory above.
        relative (bytes): path below it.
        top (str): the path of top_fd, for errors.
        model (callable): takes the relative path (bytes) of a missing directory, gives its (uid, gid, mode).

    Returns:
        int: a new descriptor, the caller's to close.

    Raises:
        StoreError: a component is no directory.
    """
    fd = os.open(".", OPEN_DIRECTORY, dir_fd=top_fd)
    done = []
    for name in _components(relative):
        done.append(name)
        if lstat(name, fd) is None:
            # Owner and mode first, the name last: a crash leaves no directory of another's owner or mode.
            uid, gid, mode = model(b"/".join(done))
            temporary = b".cm_persist-" + name[:200]
            remove_tree(fd, temporary)
            os.mkdir(temporary, 0o700, dir_fd=fd)
            made = os.open(temporary, OPEN_DIRECTORY, dir_fd=fd)
            os.fchown(made, uid, gid)
            os.fchmod(made, mode)
            os.fsync(made)
            os.close(made)
            os.rename(temporary, name, src_dir_fd=fd, dst_dir_fd=fd)
            os.fsync(fd)
        below = _open_component(fd, name, relative, top)
        os.close(fd)
        fd = below
    return fd


def make_parents(path, model):
    """Make the directories above a path that are missing, each durable with its owner and mode at once.

    Args:
        path (str): an absolute path.
        model (callable): takes the path (str) of a missing directory, gives its (uid, gid, mode).
    """
    directory = os.path.dirname(path)
    existing = directory
    while not os.path.isdir(existing):
        existing = os.path.dirname(existing)
    if existing == directory:
        return
    missing = os.fsencode(os.path.relpath(directory, existing))
    fd = os.open(existing, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.close(make_directories(fd, missing, existing, lambda below: model(os.path.join(existing, os.fsdecode(below)))))
    finally:
        os.close(fd)
