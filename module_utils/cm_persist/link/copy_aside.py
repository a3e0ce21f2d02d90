# SPDX-License-Identifier: Apache-2.0
"""Copy a tree next to a state path, durably, with its manifest."""

import contextlib
import os
from typing import Iterator, List, Tuple

from ..fs.dirfd import OPEN_DIRECTORY, Opened
from ..fs.node import ParentDir
from ..fs.rmtree import remove_tree
from ..host.mounts import mount_holding, read_mounts
from ..original.notes import copy_name
from ..store.layout import TREE
from ..store.staging import new_manifest
from ..tree.copy_files import Source, Target
from ..tree.copy_tree import copy_tree
from ..tree.sync import sync_tree


@contextlib.contextmanager
def copied_next_to(parent: ParentDir, source_fd: int, path: str, release: str) -> Iterator[Tuple[int, List[str]]]:
    """Make a copy, on disk, with its manifest, in a private directory next to a state path; gives that directory, open, and
    warnings of what could not be copied.

    source_fd is the open directory that holds the source, under the state path's own name; path is the source, for errors;
    release is the kernel's.
    """
    name = copy_name(parent.name)
    remove_tree(parent.fd, name)
    os.mkdir(name, 0o700, dir_fd=parent.fd)
    with Opened(os.open(name, OPEN_DIRECTORY, dir_fd=parent.fd)) as private:
        try:
            with new_manifest(private) as manifest:
                copied = copy_tree(Source(source_fd, parent.name, path), Target(private, TREE), manifest)
            holding = mount_holding(parent.directory, read_mounts())
            sync_tree(parent.fd, name, release, holding.fs_type if holding else "")
        except BaseException:
            with contextlib.suppress(OSError):  # room on a full disk; the first error tells more, and the next run clears it
                remove_tree(parent.fd, name)
            raise
        yield private, copied.warnings(path)
