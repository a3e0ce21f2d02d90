# SPDX-License-Identifier: Apache-2.0
"""How far a copy is, for whoever watches: a small file that the processes which copy map into memory, and count in.

What they count costs no system call, so nothing waits for it and the order of calls does not depend on it. Ansible shows nothing
of a module before it ends; the log's callback therefore names the file in the environment, and container/progress.py reads it.
"""

import json
import mmap
import os
import struct
import time
from typing import NamedTuple

VARIABLE = "CM_PERSIST_PROGRESS"  # names the file, in the environment of the module
HEAD = 16384  # bytes for what is copied: a path may be long
SLOT = struct.Struct("=QQ")  # files and bytes of one process
SLOTS = 32
_counter = None


class Seen(NamedTuple):
    """What is at work: path is '' while all is written to disk; files and bytes are done, of of_files and of_bytes;

    began is a time.monotonic(), which all processes of a machine share.
    """

    path: str
    files: int
    bytes: int
    of_files: int
    of_bytes: int
    began: float


class _Counter:
    def __init__(self, path):
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(fd, HEAD + SLOTS * SLOT.size)
            self.map = mmap.mmap(fd, HEAD + SLOTS * SLOT.size)
        finally:
            os.close(fd)
        self.slot, self.files, self.bytes = 0, 0, 0

    def begin(self, text):
        self.map[:] = text.ljust(HEAD, b"\0") + bytes(SLOTS * SLOT.size)
        self.files = self.bytes = 0

    def add(self, files, data):
        self.files, self.bytes = self.files + files, self.bytes + data
        SLOT.pack_into(self.map, HEAD + self.slot * SLOT.size, self.files, self.bytes)


def watch(environment=None):
    """Count from now on, if somebody watches. Who cannot be told is not: no copy fails for that.

    Args:
        environment (dict): may name the file in CM_PERSIST_PROGRESS; None for this process's own.
    """
    global _counter
    environment = os.environ if environment is None else environment
    try:
        _counter = _Counter(environment[VARIABLE]) if environment.get(VARIABLE) else None
    except (OSError, ValueError):
        _counter = None


def begin(path="", files=0, data=0):
    """Say what begins: the copy of a path (str) with that many files and bytes of data; '' for writing all to disk."""
    if _counter is not None:
        text = json.dumps({"path": path, "files": files, "bytes": data, "began": time.monotonic()}).encode("ascii")
        _counter.begin(text if len(text) < HEAD else b"")


def add(files, data):
    """Count files and bytes of data that are copied."""
    if _counter is not None:
        _counter.add(files, data)


def in_member(number):
    """Count in a place of its own: of a process that was forked, number (int) from 1 on."""
    if _counter is not None:
        _counter.slot, _counter.files, _counter.bytes = number % SLOTS, 0, 0


def read(path):
    """Look how far a copy is.

    Args:
        path (str): the file.

    Returns:
        Seen; None where nothing is being copied, or just at the moment when something begins.
    """
    try:
        with open(path, "rb") as file:
            content = file.read()
        head = json.loads(content[:HEAD].rstrip(b"\0").decode("ascii"))
        counts = list(SLOT.iter_unpack(content[HEAD:]))
    except (OSError, ValueError, struct.error):
        return None
    files, data = (sum(column) for column in zip(*counts))
    return Seen(head["path"], files, data, head["files"], head["bytes"], head["began"])
