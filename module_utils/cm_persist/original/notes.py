# SPDX-License-Identifier: Apache-2.0
"""What is kept beside a state path: originals, a copy that is being made, and the notes that let a killed run be finished."""

import contextlib
import json
import os

from ..errors import StoreError, because, printable
from ..fs.atomic import sync_tree, write_file
from ..fs.dirfd import DIRECTORY, lstat, open_regular, remove_tree
from ..host.mounts import mount_holding, read_mounts
from ..store.record import is_name
from ..store.staging import LARGEST, TREE, new_manifest
from ..tree.copy_tree import copy_tree
from .pristine import Manifest

# Who mounts the store's copy over a state path: a start, each time, by mount(2); or systemd, by a mount unit.
BY_START, BY_UNIT = "start", "unit"


def aside_name(name, number=0):
    """bytes: where an original is kept; the number is for when a name is taken."""
    return name + b"-initial" + (b".%d" % number if number else b"")


def removal_name(name):
    """bytes: the note that says: the original's removal has begun, go on with it."""
    return b"." + name + b".cm_persist-removal"


def bound_name(name):
    """bytes: the note that says: the store's copy is mounted here, so what lies below the mount is not the newest.

    It holds who mounts it, BY_START or BY_UNIT.
    """
    return b"." + name + b".cm_persist-bound"


def copy_name(name):
    """bytes: the private directory in which a copy is made."""
    return b"." + name + b".cm_persist-copy"


def asides(image):
    """tuple: (list of bytes, bytes), the names beside a state path at which something is kept, the oldest first, and the next
    that is free. image is its ImageParent.
    """
    taken = []
    while lstat(aside_name(image.name, len(taken)), image.fd) is not None:
        taken.append(aside_name(image.name, len(taken)))
    return taken, aside_name(image.name, len(taken))


def copy_beside(source_fd, image, path, release):
    """Make a copy, on disk, with its manifest, in a private directory beside a state path.

    Args:
        source_fd (int): the open directory that holds what is copied, under the state path's own name.
        image (ImageParent): of the state path.
        path (str): the source, for errors.
        release (str): the kernel's release.

    Returns:
        tuple: (int, list of str), the open private directory, the caller's to close, and what to warn of.
    """
    name = copy_name(image.name)
    remove_tree(image.fd, name)
    os.mkdir(name, 0o700, dir_fd=image.fd)
    private = os.open(name, DIRECTORY, dir_fd=image.fd)
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


def write_removal(image, manifest, aside):
    """Note, durably, that a removal begins.

    Args:
        image (ImageParent): of the state path.
        manifest (Manifest): lists what may be removed.
        aside (str): where the same is kept; None where the image still has it.
    """
    note = {"manifest": manifest.file, "within": manifest.within, "aside": aside}
    write_file(image.fd, removal_name(image.name), json.dumps(note).encode("ascii"))


def read_removal(image):
    """tuple: the note of a removal, (Manifest, aside) as write_removal() takes them."""
    name = removal_name(image.name)
    try:
        with open(open_regular(name, image.fd, LARGEST), "rb") as file:
            note = json.loads(file.read().decode("ascii"))
        aside = note["aside"]
        if aside is not None and not is_name(os.path.basename(aside)):
            raise ValueError(aside)
        return Manifest(str(note["manifest"]), str(note["within"])), aside
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(
            os.path.join(image.directory, os.fsdecode(name)),
            "the note of a removal is broken",
            "Re-create the container from its image; or look at what is left of {} and remove the note.".format(
                printable(image.path)
            ),
        ) from error


def read_bound(image):
    """str: who mounts the store's copy over a state path, BY_START or BY_UNIT; '' where it is not noted that anyone does."""
    try:
        with open(open_regular(bound_name(image.name), image.fd, LARGEST), "rb") as file:
            return BY_UNIT if file.read() == BY_UNIT.encode("ascii") else BY_START
    except FileNotFoundError:
        return ""
    except OSError as error:
        where = os.path.join(image.directory, os.fsdecode(bound_name(image.name)))
        raise StoreError(
            where, "the note of a mount cannot be read: {}".format(because(error)), "Look where it came from, and remove it."
        ) from error


def clear(image):
    """Remove the note of a removal, and the copy that may have been made for it. The note goes first:
    it names the manifest that lies with the copy.
    """
    remove_tree(image.fd, removal_name(image.name))
    os.fsync(image.fd)
    remove_tree(image.fd, copy_name(image.name))
