# SPDX-License-Identifier: Apache-2.0
"""Which files are a database's: a file and its journal are one, and if one of the two is replaced alone, the database is broken.

Most are known by a name that the program always gives, or by a name next to another. The name of an SQLite, Berkeley DB, LMDB or
bbolt file is its user's choice: it is known by its first bytes (https://www.sqlite.org/fileformat.html, 1.3; db_page.h of
Berkeley DB; mdb.c of LMDB; db.go of bbolt).
"""

import os
import re
import stat
import struct
from typing import List, Optional

from ..fs.dirfd import Opened, lstat, open_regular
from . import postgresql

NAMES = {
    postgresql.VERSION,
    *(b"ibdata1", b"mysql.ibd", b"ib_logfile0", b"aria_log_control"),  # MySQL, MariaDB
    *(b"schema.DAT", b"WiredTiger", b"dump.rdb", b"raft.db", b"meta.db"),  # Mnesia, MongoDB, Redis, Consul, InfluxDB
    *(b"data.mdb", b"lock.mdb"),  # LMDB
    *(b"segments.gen", b"node.lock"),  # Lucene, Elasticsearch
}
FORMS = re.compile(
    rb"appendonly\.aof(\..+)?"  # Redis
    rb"|__db\.[0-9a-z.]+|log\.[0-9]{10}"  # Berkeley DB
    rb"|segments_[0-9a-z]+"  # Lucene
)
DIRECTORIES = {b"_state"}  # Elasticsearch
INDEX = b"-shm"  # of what is in -wal: SQLite makes it anew
JOURNALS = (b"-wal", INDEX, b"-journal")  # of SQLite, each after the name of its file
CURRENT, MANIFEST = b"CURRENT", re.compile(rb"MANIFEST-[0-9]+")  # LevelDB, RocksDB
HEADER = 20  # bytes that tell
CLEARED = bytes(8)  # the header of a journal that holds nothing any more
SQLITE = b"SQLite format 3\0"
BERKELEY = (0x053162, 0x061561, 0x042253, 0x074582, 0x040988)  # btree, hash, queue, heap, log: from byte 12 on
META = (0xBEEFC0DE, 0xED0CDAED)  # LMDB, bbolt: from byte 16 on


def database_among(directories: List[bytes], files: List[bytes]) -> Optional[bytes]:
    """The first name of a database's file (or directory) in a directory that has these names; None if no name tells of one."""
    there = set(files)
    for name in files:
        if name in NAMES or FORMS.fullmatch(name) or any(name + journal in there for journal in JOURNALS):
            return name
    if CURRENT in there and any(MANIFEST.fullmatch(name) for name in files):
        return CURRENT
    return next((name for name in directories if name in DIRECTORIES), None)


def journals_beside(name: bytes, dir_fd: int) -> List[bytes]:
    """The names of the journals of a file in an open directory that hold something: what the file itself may lack. Raises OSError
    if they cannot be looked at."""
    status = lstat(name, dir_fd)
    if status is None or not stat.S_ISREG(status.st_mode):
        return []
    found = [(name + journal, lstat(name + journal, dir_fd)) for journal in JOURNALS if journal != INDEX]
    there = [journal for journal, status in found if status is not None and stat.S_ISREG(status.st_mode) and status.st_size]
    return [journal for journal in there if not _is_finished(journal, dir_fd)]


def _is_finished(name, dir_fd) -> bool:
    """True for a journal whose header is cleared: SQLite leaves it so with journal_mode=PERSIST."""
    with Opened(open_regular(name, dir_fd)) as fd:
        return not any(os.read(fd, len(CLEARED)))


def is_database(name: bytes, dir_fd: int) -> bool:
    """True if the first bytes of a regular file in an open directory are those of a database. Raises OSError if it cannot be
    read."""
    with Opened(open_regular(name, dir_fd)) as fd:
        head = os.read(fd, HEADER)
    if head.startswith(SQLITE):
        return True
    if len(head) < HEADER:
        return False
    numbers = [struct.unpack(order + "II", head[12:20]) for order in "<>"]  # it may be another machine's byte order
    return any(berkeley in BERKELEY or meta in META for berkeley, meta in numbers)
