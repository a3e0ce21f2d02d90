# SPDX-License-Identifier: Apache-2.0
"""What is kept beside a state path: originals, a copy that is being made, and the notes that let a killed run be finished."""

import json
import os

from ..errors import StoreError, because, printable
from ..fs.atomic import write_file
from ..fs.dirfd import lstat, open_regular
from ..fs.rmtree import remove_tree
from ..store.layout import LARGEST
from ..store.record import is_name
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
    that is free. image is its ParentDir.
    """
    taken = []
    while lstat(aside_name(image.name, len(taken)), image.fd) is not None:
        taken.append(aside_name(image.name, len(taken)))
    return taken, aside_name(image.name, len(taken))


def write_removal(image, manifest, aside):
    """Note, durably, that a removal begins.

    Args:
        image (ParentDir): of the state path.
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
