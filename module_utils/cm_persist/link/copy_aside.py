# SPDX-License-Identifier: Apache-2.0
"""Copy an original beside its path, durably, with its manifest."""

import contextlib
import os

from ..fs.dirfd import OPEN_DIRECTORY
from ..fs.rmtree import remove_tree
from ..host.mounts import mount_holding, read_mounts
from ..original.notes import copy_name
from ..store.layout import TREE
from ..store.staging import new_manifest
from ..tree.copy_tree import copy_tree
from ..tree.sync import sync_tree


def copy_beside(source_fd, image, path, release):
    """Make a copy, on disk, with its manifest, in a private directory beside a state path.

    Args:
        source_fd (int): the open directory that holds what is copied, under the state path's own name.
        image (ParentDir): of the state path.
        path (str): the source, for errors.
        release (str): the kernel's release.

    Returns:
        tuple: (int, list of str), the open private directory, the caller's to close, and what to warn of.
    """
    name = copy_name(image.name)
    remove_tree(image.fd, name)
    os.mkdir(name, 0o700, dir_fd=image.fd)
    private = os.open(name, OPEN_DIRECTORY, dir_fd=image.fd)
    try:
        with new_manifest(private) as manifest:
            copied = copy_tree(source_fd, image.name, path, private, TREE, manifest)
        holding = mount_holding(image.directory, read_mounts())
        sync_tree(image.fd, name, release, holding.fs_type if holding else "")
    except BaseException:
        os.close(private)
        with contextlib.suppress(OSError):  # room on a full disk; the first error tells more, and the next run clears it
            remove_tree(image.fd, name)
        raise
    return private, copied.warnings(path)
