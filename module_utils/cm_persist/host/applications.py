# SPDX-License-Identifier: Apache-2.0
"""What a copy of a directory alone does not tell: data that a program keeps elsewhere, or finds again only under conditions.

PostgreSQL's tablespaces and its log may lie outside the data directory, behind symbolic links
(https://www.postgresql.org/docs/current/storage-file-layout.html); RabbitMQ names its data after the host
(https://www.rabbitmq.com/docs/relocate). Cloudify Manager 5.1 to 6.4 removes RabbitMQ's data whenever it configures itself, as at
each boot of its image; 7.0 does so unless /etc/cloudify/.configured/queue_service is there (cloudify-manager-install,
cfy_manager/components/rabbitmq/rabbitmq.py).
"""

import os
import socket
from typing import NamedTuple, Tuple

from ..errors import StoreError
from ..fs.dirfd import OPEN_DIRECTORY, list_kinds, list_names, open_directory, open_quietly, open_regular
from ..paths import inside

VERSION = b"PG_VERSION"
DEPTH = 2  # how far below a state path a database is looked for: /var/lib/pgsql has it at 9.5/data
MANAGER = "/usr/bin/cfy_manager"
MNESIA, RABBITMQ, CONFIGURED = "/var/lib/rabbitmq/mnesia", "/var/lib/rabbitmq", "/etc/cloudify"
BESIDES = ("-plugins-expand", "-feature_flags", ".pid")  # what RabbitMQ has beside a node's own directory
# What databases call their files: PostgreSQL, MySQL, Mnesia (RabbitMQ), MongoDB, RocksDB, Redis, etcd and Consul, InfluxDB.
DATABASES = (
    b"PG_VERSION", b"ibdata1", b"mysql.ibd", b"schema.DAT", b"WiredTiger", b"CURRENT", b"appendonly.aof", b"dump.rdb", b"raft.db",
    b"meta.db",
)  # fmt: skip


class Database(NamedTuple):
    """A PostgreSQL data directory, the major version that made it, and what it keeps where no state path is."""

    directory: str
    version: str
    elsewhere: Tuple[str, ...] = ()


class Hazards(NamedTuple):
    """What was seen: databases in a state path, RabbitMQ's nodes, this host's name, and whether it is a Cloudify Manager."""

    databases: Tuple[Database, ...] = ()
    nodes: Tuple[str, ...] = ()
    host: str = ""
    manager: bool = False


def find_hazards(top_fd, relative, path=None, tops=(), manager=MANAGER):
    """Look for what a copy of a state path would not tell.

    Args:
        top_fd (int): an open directory.
        relative (bytes): the state path's content, relative to that.
        path (str): its path; None where only the conditions are of interest, as what it holds is in the store already.
        tops (iterable of str): all state paths.
        manager (str): a program that is there where Cloudify Manager is.

    Returns:
        Hazards.
    """
    databases = () if path is None else find_databases(top_fd, relative, path, tops)
    return Hazards(databases, _find_nodes(top_fd, relative), socket.gethostname(), os.path.lexists(manager))


def find_databases(top_fd, relative, path, tops=()):
    """Find the databases at a directory or not far below.

    Args:
        top_fd (int): an open directory.
        relative (bytes): the directory to look at, relative to that.
        path (str): its path.
        tops (iterable of str): all state paths.

    Returns:
        tuple of Database.
    """
    tops = [os.path.realpath(top) for top in tops]
    level = [b""]
    for depth in range(DEPTH + 1):
        found, deeper = [], []
        for below in level:
            fd = _open(top_fd, os.path.join(relative, below).rstrip(b"/"))
            if fd is None:
                continue
            try:
                database = _database(fd, os.path.join(path, os.fsdecode(below)).rstrip("/"), tops)
                found += [database] if database else []
                deeper += [os.path.join(below, name) for name in list_kinds(fd)[0]] if depth < DEPTH and not found else []
            finally:
                os.close(fd)
        if found:  # further down each database of a cluster has a version of its own
            return tuple(found)
        level = deeper
    return ()


def _find_nodes(top_fd, relative):
    names = [os.fsdecode(name) for name in _names(top_fd, os.path.join(relative, b"mnesia"))]
    return tuple(name for name in names if "@" in name and not name.endswith(BESIDES))


def _database(fd, path, tops):
    version = _read_version(fd)
    if version is None:
        return None
    targets = sorted(_targets(fd, path))
    return Database(path, version, tuple(target for target in targets if not any(inside(target, top) for top in tops)))


def _read_version(fd):
    try:
        with open(open_regular(VERSION, fd, 1 << 10), "rb") as file:
            return file.read(1 << 10).decode("ascii", "replace").strip()
    except OSError:
        return None


def _targets(fd, path):
    links = [b"pg_wal", b"pg_xlog", *(os.path.join(b"pg_tblspc", name) for name in _names(fd, b"pg_tblspc"))]
    for link in links:
        try:
            target = os.readlink(link, dir_fd=fd)
        except OSError:
            continue  # a directory of its own, or not there
        yield os.path.realpath(os.path.join(path, os.path.dirname(os.fsdecode(link)), os.fsdecode(target)))


def _names(top_fd, relative):
    fd = _open(top_fd, relative)
    if fd is None:
        return []
    try:
        return list_names(fd)
    finally:
        os.close(fd)


def _open(top_fd, relative):
    """int: the directory, the caller's to close; None where it is none, not there, or not ours to see: the copy will tell."""
    above, name = os.path.split(relative)
    try:
        parent = open_directory(top_fd, above, "")
        try:
            return open_quietly(name, OPEN_DIRECTORY, parent)  # an original is read without a trace
        finally:
            os.close(parent)
    except (OSError, StoreError):
        return None
