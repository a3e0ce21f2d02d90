# SPDX-License-Identifier: Apache-2.0
"""The operations that give a state path content of its own again. The store is only read.

Between the link's end and the new content's name there is nothing at the path, so no service can begin on the wrong one;
a run of either direction goes on from there.
"""

import contextlib
import os
from typing import NamedTuple

from ..errors import printable
from ..fs import syscalls
from ..fs.dirfd import remove_tree
from ..fs.node import LINK, ImageParent, make_parents
from ..original.notes import bound_name, clear, copy_beside, removal_name
from ..paths import StatePath
from ..store.staging import TREE
from .steps import as_in_store, remove_empty


class CopyBack(NamedTuple):
    """Put a copy of the store's content, which is the newest, at the state path."""

    spec: StatePath
    place: str

    def describe(self):
        """str: what will be done."""
        return "copy {} back to {}".format(printable(self.place), printable(self.spec.path))

    def execute(self, run):
        """Do it: all of it is on disk before the link goes."""
        make_parents(self.spec.path, as_in_store(self))
        with ImageParent(self.spec.path) as image:
            stored = run.store.open_parent(self.spec.relative)
            try:
                private, warnings = copy_beside(stored, image, self.place, run.release)
            finally:
                os.close(stored)
            run.warnings.extend(warnings)
            try:
                _unlink(image, self.place)
                # Before the name: with it the notes would say of the new content what they say of the old.
                for note in (bound_name(image.name), removal_name(image.name)):
                    remove_tree(image.fd, note)
                syscalls.rename_noreplace(TREE, image.name, private, image.fd)
                os.fsync(image.fd)
            finally:
                os.close(private)
            clear(image)


class ReturnAside(NamedTuple):
    """Put the original that is kept aside back at the state path, by a rename."""

    spec: StatePath
    place: str
    aside: str

    def describe(self):
        """str: what will be done."""
        return "rename {} back to {}".format(printable(self.aside), printable(self.spec.path))

    def execute(self, run):
        """Do it; where it cannot be renamed the link is back, as there would be nothing at the path for good."""
        with ImageParent(self.spec.path) as image:
            was_linked = _unlink(image, self.place)
            try:
                syscalls.rename_noreplace(os.fsencode(os.path.basename(self.aside)), image.name, image.fd, image.fd)
            except OSError:
                if was_linked:
                    with contextlib.suppress(FileExistsError):  # what came meanwhile is in the way of either
                        os.symlink(self.place, image.name, dir_fd=image.fd)
                raise
            os.fsync(image.fd)


class ReturnUncovered(NamedTuple):
    """Use what a mount has hidden; where that is no more than a mount point, put the original that is kept aside there."""

    spec: StatePath
    place: str
    aside: str

    def describe(self):
        """str: what will be done."""
        text = "use what lies under the mount; if that is an empty mount point, rename {} back to {}"
        return text.format(printable(self.aside), printable(self.spec.path))

    def execute(self, run):
        """Do it."""
        with ImageParent(self.spec.path) as image:
            uncovered = remove_empty(image)
        if uncovered:
            ReturnAside(self.spec, self.place, self.aside).execute(run)


def _unlink(image, place):
    # Our link, and nothing that took its place meanwhile: that is for the rename to refuse.
    current = image.look()
    linked = current.kind == LINK and current.target == place
    if linked:
        os.unlink(image.name, dir_fd=image.fd)
    return linked
