# SPDX-License-Identifier: Apache-2.0
"""The progress of a copy, for a person who watches: a small file that the copying processes map into memory and count in.

Counting takes no system call, so no copy waits for it, and the order of calls does not depend on it. Ansible shows the output of
a module only when it ends; therefore the log's callback names the file in the environment, and container/progress.py reads it.
"""

import contextlib
import json
import mmap
import os
import struct
import time
from typing import Dict, NamedTuple, Optional

from ..fs.dirfd import Opened

VARIABLE = "CM_PERSIST_PROGRESS"  # names the file, in the environment of the module
HEAD = 16384  # bytes for the name of the copy: a path may be long
SLOT = struct.Struct("=QQ")  # files and bytes of one process
SLOTS = 32


class ProgressSeen(NamedTuple):
    """The state of a copy: files and bytes are done, of of_files and of_bytes; path is '' during the write to disk.

    began is a time.monotonic(), which is the same for all processes of a machine.
    """

    path: str
    files: int
    bytes: int
    of_files: int
    of_bytes: int
    began: float


class _Counter:
    def __init__(self):
        self._map, self._slot, self._files, self._bytes = None, 0, 0, 0

    def watch(self, environment: Optional[Dict[str, str]] = None) -> None:
        """Count from now on, if the environment (None: of this process) names a file. A file that cannot be made is no error."""
        environment = os.environ if environment is None else environment
        self._map = None
        if environment.get(VARIABLE):
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            with contextlib.suppress(OSError, ValueError), Opened(os.open(environment[VARIABLE], flags, 0o600)) as fd:
                os.ftruncate(fd, HEAD + SLOTS * SLOT.size)
                self._map = mmap.mmap(fd, HEAD + SLOTS * SLOT.size)

    def begin(self, path: str = "", files: int = 0, data: int = 0) -> None:
        """Start at zero, for the copy of a path with that many files and bytes of data; '' is the write to disk."""
        if self._map is not None:
            text = json.dumps({"path": path, "files": files, "bytes": data, "began": time.monotonic()}).encode("ascii")
            self._map[:] = (text if len(text) < HEAD else b"").ljust(HEAD, b"\0") + bytes(SLOTS * SLOT.size)
            self._files = self._bytes = 0

    def add(self, files: int, data: int) -> None:
        """Count files and bytes of data that are copied."""
        if self._map is not None:
            self._files, self._bytes = self._files + files, self._bytes + data
            SLOT.pack_into(self._map, HEAD + self._slot * SLOT.size, self._files, self._bytes)

    def in_worker(self, number: int) -> None:
        """Count in a slot of its own, after a fork: workers have numbers from 1 on."""
        self._slot, self._files, self._bytes = number % SLOTS, 0, 0


_this_process = _Counter()
watch, begin, add, in_worker = _this_process.watch, _this_process.begin, _this_process.add, _this_process.in_worker


def read(path: str) -> Optional[ProgressSeen]:
    """The progress in this file; None while nothing is copied, or at the moment when a copy starts."""
    try:
        with open(path, "rb") as file:
            content = file.read()
        head = json.loads(content[:HEAD].rstrip(b"\0").decode("ascii"))
        counts = list(SLOT.iter_unpack(content[HEAD:]))
    except (OSError, ValueError, struct.error):
        return None
    files, data = (sum(column) for column in zip(*counts))
    return ProgressSeen(head["path"], files, data, head["files"], head["bytes"], head["began"])
