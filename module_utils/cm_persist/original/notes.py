# SPDX-License-Identifier: Apache-2.0
"""What is kept next to a state path: originals, a copy that is being made, and the notes that complete an interrupted run."""

import os
from typing import Callable, List, NamedTuple, Optional, Tuple

from ..errors import StoreError, because, printable
from ..fs.atomic import INVALID, read_json, write_file, write_json
from ..fs.dirfd import open_regular
from ..fs.node import NONE, ParentDir
from ..fs.rmtree import remove_tree
from ..store.layout import LARGEST
from ..store.record import is_name
from ..tree.manifest import is_listed
from .pristine import Manifest, path_in_list

# What mounts the store's copy over a state path: each start, by mount(2); or systemd, by a mount unit.
BY_START, BY_UNIT = "start", "unit"


class Aside(NamedTuple):
    """Something at a name where originals are kept."""

    path: str
    real: bool  # a directory or a file; anything but these is nobody's original

    @property
    def name(self) -> bytes:
        """Its name in the state path's directory."""
        return os.fsencode(os.path.basename(self.path))


class PathNotes(NamedTuple):
    """What is kept next to a state path, as one look finds it."""

    removal_begun: bool = False  # the removal of an original has started, and may not be complete
    mount_noted: bool = False  # the store's copy is mounted here, or was before the machine stopped
    leftover_copy: bool = False  # an interrupted run was making a copy here
    untold: bool = False  # content that may be newer was moved aside, and the run may have ended before it said so
    asides: Tuple[Aside, ...] = ()  # the oldest first
    free_aside: str = ""  # the next path at which an original can be kept

    @property
    def doubtful(self) -> bool:
        """True if what is at the path may not be the image's: half an original, what a mount hid, or what a program put there."""
        return self.removal_begun or self.mount_noted or bool(self.asides)

    @property
    def first_aside(self) -> str:
        """Where the first original is kept, '' for nowhere."""
        return self.asides[0].path if self.asides and self.asides[0].real else ""

    @property
    def last_aside(self) -> str:
        """Where the latest is kept, '' for nowhere."""
        return self.asides[-1].path if self.asides and self.asides[-1].real else ""


def read_notes(parent: ParentDir, image_list: str) -> PathNotes:
    """What is kept next to the state path of this directory. A name that the list of the image has (image_list, which may be
    missing) is the image's own, whatever it looks like."""
    names = _existing(parent, lambda number: aside_name(parent.name, number))
    asides = [name for name in names if not is_of_image(parent, name, image_list)]

    def is_noted(name):
        return parent.look(name).kind != NONE and not is_of_image(parent, name, image_list)

    return PathNotes(
        removal_begun=is_noted(removal_name(parent.name)),
        mount_noted=is_noted(bound_name(parent.name)),
        leftover_copy=is_noted(copy_name(parent.name)),
        untold=is_noted(kept_name(parent.name)),
        asides=tuple(Aside(path_next_to(parent, name), parent.look(name).real) for name in asides),
        free_aside=path_next_to(parent, aside_name(parent.name, len(names))),
    )


def is_of_image(parent: ParentDir, name: bytes, image_list: str) -> bool:
    """True if the list of the image has this name next to a state path."""
    return is_listed(image_list, os.fsencode(os.path.dirname(path_in_list(parent))) + b"/" + name)


def aside_name(name: bytes, number: int = 0) -> bytes:
    """Where an original is kept; the number is for when a name is taken."""
    return name + b"-initial" + (b".%d" % number if number else b"")


def removal_name(name: bytes) -> bytes:
    """The note that says that the removal of an original has started and has to be completed."""
    return b"." + name + b".cm_persist-removal"


def bound_name(name: bytes) -> bytes:
    """The note that says that the store's copy is mounted here, so content below the mount is not the newest. It holds what
    mounts it, BY_START or BY_UNIT."""
    return b"." + name + b".cm_persist-bound"


def copy_name(name: bytes) -> bytes:
    """The private directory in which a copy is made."""
    return b"." + name + b".cm_persist-copy"


def kept_name(name: bytes) -> bytes:
    """The note that says that content which may be newer is being moved aside: the run that sees it last says so."""
    return b"." + name + b".cm_persist-kept"


def path_next_to(parent: ParentDir, name: bytes) -> str:
    """The path of a name in the directory of a state path."""
    return os.path.join(parent.directory, os.fsdecode(name))


def write_removal(parent: ParentDir, manifest: Manifest, aside: Optional[str]):
    """Note, durably, that the removal of the original starts: what lists all that may be removed, and where a copy is kept."""
    note = {"manifest": manifest.file, "within": manifest.within, "aside": aside}
    write_json(parent.fd, removal_name(parent.name), note)


def read_removal(parent: ParentDir) -> Tuple[Manifest, Optional[str]]:
    """The note of a removal, which has to be there. Raises StoreError if its content makes no sense."""
    name = removal_name(parent.name)
    try:
        note = read_json(parent.fd, name, LARGEST)
        aside = note["aside"]
        if aside is not None and not is_name(os.path.basename(aside)):
            raise ValueError(aside)
        return Manifest(str(note["manifest"]), str(note["within"])), aside
    except OSError:  # the disk fails, and says nothing of the note
        raise
    except INVALID as error:
        hint = "Re-create the container from its image; or look at what is left of {} and remove the note."
        where, found = path_next_to(parent, name), "the note of a removal is broken"
        raise StoreError(where, found, hint.format(printable(parent.path))) from error


def read_mounted_by(parent: ParentDir) -> str:
    """What mounts the store's copy over a state path, BY_START or BY_UNIT; '' where no note says that anything does. Raises
    StoreError if there is a note that cannot be read."""
    if parent.fd is None:
        return ""
    try:
        with open(open_regular(bound_name(parent.name), parent.fd, LARGEST), "rb") as file:
            return BY_UNIT if file.read() == BY_UNIT.encode("ascii") else BY_START
    except FileNotFoundError:
        return ""
    except OSError as error:
        where, found = path_next_to(parent, bound_name(parent.name)), "the note of a mount cannot be read: {}"
        raise StoreError(where, found.format(because(error)), "Find out where it came from, and remove it.") from error


def write_kept(parent: ParentDir):
    """Note, durably, that content which may be newer is being moved aside."""
    write_file(parent.fd, kept_name(parent.name), b"")


def remove_notes(parent: ParentDir):
    """Remove the note of a removal, and then the copy that may have been made for it, whose manifest the note names."""
    remove_tree(parent.fd, removal_name(parent.name))
    os.fsync(parent.fd)
    remove_tree(parent.fd, copy_name(parent.name))


def _existing(parent: ParentDir, name_of: Callable[[int], bytes]) -> List[bytes]:
    """The names, from number 0 on, up to the first that does not exist."""
    names = []
    while parent.look(name_of(len(names))).kind != NONE:
        names.append(name_of(len(names)))
    return names
