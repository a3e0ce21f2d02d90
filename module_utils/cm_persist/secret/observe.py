# SPDX-License-Identifier: Apache-2.0
"""Observe the source and the target of the credentials."""

import os
import stat
from typing import List, NamedTuple, Optional

from ..errors import AS_ROOT, SecretError, because
from ..fs.dirfd import Opened, same_mount
from ..fs.mkdirs import nearest_directory
from ..fs.node import DIRECTORY, Node, ParentDir
from ..host.mounts import Mount
from .credentials import USUAL, Credentials, Reader, inspect


class SecretSeen(NamedTuple):
    """The source and the target, as they were seen."""

    source: Optional[Credentials]  # of the target if something is mounted there; None if the source does not exist
    target: Node
    mounted: bool = False  # something is mounted at the target, and not hidden
    parents: bool = True  # the directory of the target exists


def observe(settings, mounts: List[Mount], now: float) -> SecretSeen:
    """The source and the target of these settings (Settings); a SecretError if the source exists and is not a directory."""
    with ParentDir(settings.target) as parent:
        target, exists = parent.look_inside(), parent.fd is not None
        mounted = target.kind == DIRECTORY and _is_mount_point(parent)
    names = [*settings.required_files, *(name for name in USUAL if name not in settings.required_files)]
    if mounted:
        reader = Reader(settings.user, settings.target)
        return SecretSeen(inspect(settings.target, names, reader, mounts, now), target, True)
    if not _source_exists(settings.source):
        return SecretSeen(None, target, False, exists)
    reader = Reader(settings.user, nearest_directory(os.path.dirname(settings.target)))
    return SecretSeen(inspect(settings.source, names, reader, mounts, now), target, False, exists)


def _is_mount_point(parent):
    # By its descriptor: the mount table still lists a mount that a later one on /run has hidden.
    with Opened(os.open(parent.name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent.fd)) as fd:
        return not same_mount(fd, parent.fd)


def _source_exists(source):
    try:
        status = os.stat(source)
    except FileNotFoundError:
        if os.path.islink(source):
            raise SecretError(source, "it is a dangling symbolic link", "Mount the service account's Secret there.") from None
        return False
    except OSError as error:
        raise SecretError(source, "it cannot be looked at: {}".format(because(error)), AS_ROOT) from error
    if not stat.S_ISDIR(status.st_mode):
        raise SecretError(source, "it is not a directory", "Mount the service account's Secret as a directory, without subPath.")
    return True
