# SPDX-License-Identifier: Apache-2.0
"""Replace a file atomically and durably. A failed fsync is fatal: the kernel may have dropped the data."""

import json
import os

from .dirfd import open_regular
from .rmtree import remove_tree

# The errors of a reader of JSON whose file is missing, damaged, or says something else than expected.
INVALID = (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)


def write_file(dir_fd: int, name: bytes, data: bytes, mode: int = 0o600) -> None:
    """Replace the content of a file: a crash leaves the old content or the new one, never a part. The umask reduces the mode."""
    new = b"." + name + b".new"
    remove_tree(dir_fd, new)
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=dir_fd)
    with open(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(fd)
    os.rename(new, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
    os.fsync(dir_fd)


def write_json(dir_fd: int, name: bytes, content) -> None:
    """Replace the content of a file, as write_file() does, by JSON."""
    write_file(dir_fd, name, json.dumps(content, indent=1, sort_keys=True).encode("ascii") + b"\n")


def read_json(dir_fd: int, name: bytes, largest: int):
    """The content of a regular file in JSON, of at most so many bytes."""
    with open(open_regular(name, dir_fd, largest), "rb") as file:
        return json.loads(file.read().decode("utf-8"))
