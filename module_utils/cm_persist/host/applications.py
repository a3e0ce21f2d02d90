# SPDX-License-Identifier: Apache-2.0
"""Hazards of the applications whose data cm_persist keeps: a copy of a directory alone would lose something.

PostgreSQL may keep a part of its data elsewhere. RabbitMQ names its data after the host
(https://www.rabbitmq.com/docs/relocate). Cloudify Manager 5.1 to 6.4 removes RabbitMQ's data whenever it configures itself, as at
each boot of its image; 7.0 does so unless /etc/cloudify/.configured/queue_service exists (cloudify-manager-install,
cfy_manager/components/rabbitmq/rabbitmq.py).
"""

import os
import socket
from typing import Iterable, NamedTuple, Optional, Tuple

from .database_files import journals_beside
from .postgresql import Database, find_databases, names_if_readable

MANAGER = "/usr/bin/cfy_manager"
MNESIA, RABBITMQ, CONFIGURED = "/var/lib/rabbitmq/mnesia", "/var/lib/rabbitmq", "/etc/cloudify"
NOT_NODES = ("-plugins-expand", "-feature_flags", ".pid")  # what RabbitMQ puts next to a node's own directory


class Hazards(NamedTuple):
    """The databases in a state path, RabbitMQ's nodes in it, the name of this host, whether this is a Cloudify Manager, and, of a
    path that is a single file, the paths of its journals that no state path contains."""

    databases: Tuple[Database, ...] = ()
    nodes: Tuple[str, ...] = ()
    host: str = ""
    manager: bool = False
    journals: Tuple[str, ...] = ()


def find_hazards(
    top_fd: int, relative: bytes, path: Optional[str] = None, tops: Iterable[str] = (), manager: str = MANAGER
) -> Hazards:
    """The hazards of a state path, whose content is at a path relative to the open directory top_fd.

    path is None for content that is in the store already, so that its databases do not matter; tops are all state paths;
    manager is a program that exists where Cloudify Manager is installed.
    """
    databases = () if path is None else find_databases(top_fd, relative, path, tops)
    journals = () if path is None else _journals_of(top_fd, relative, path, tops)
    names = [os.fsdecode(name) for name in names_if_readable(top_fd, os.path.join(relative, b"mnesia"))]
    nodes = tuple(name for name in names if "@" in name and not name.endswith(NOT_NODES))
    return Hazards(databases, nodes, socket.gethostname(), os.path.lexists(manager), journals)


def _journals_of(top_fd, relative, path, tops) -> Tuple[str, ...]:
    found = [os.path.join(os.path.dirname(path), os.fsdecode(name)) for name in journals_beside(relative, top_fd)]
    return tuple(journal for journal in found if journal not in tops)
