# SPDX-License-Identifier: Apache-2.0
"""The steps that give a state path content of its own again."""

import contextlib
import os
from typing import NamedTuple

from ..errors import printable
from ..fs import syscalls
from ..fs.mkdirs import make_parents
from ..fs.node import LINK, ParentDir
from ..fs.rmtree import remove_tree
from ..original.notes import bound_name, removal_name, remove_notes
from ..paths import StatePath
from ..store.layout import TREE
from .copy_aside import copied_next_to
from .steps import as_in_store, remove_empty


class CopyBack(NamedTuple):
    """Put a copy of the store's content, which is the newest, at the state path."""

    spec: StatePath
    stored_path: str

    def describe(self):
        return "copy {} back to {}".format(printable(self.stored_path), printable(self.spec.path))

    def execute(self, run):
        make_parents(self.spec.path, as_in_store(self))
        with ParentDir(self.spec.path) as image, contextlib.ExitStack() as stack:
            stored = stack.enter_context(run.store.parent_of(self.spec.relative))[0]
            # All of the copy is on disk before the link is removed.
            with copied_next_to(image, stored, self.stored_path, run.release) as (private, warnings):
                run.warnings.extend(warnings)
                _unlink(image, self.stored_path)
                # Before the name: with it the notes would say of the new content what they say of the old.
                for note in (bound_name(image.name), removal_name(image.name)):
                    remove_tree(image.fd, note)
                syscalls.rename_noreplace(TREE, image.name, private, image.fd)
                os.fsync(image.fd)
            remove_notes(image)


class ReturnAside(NamedTuple):
    """Put the original that is kept under another name back at the state path, by a rename."""

    spec: StatePath
    stored_path: str
    aside: str

    def describe(self):
        return "rename {} back to {}".format(printable(self.aside), printable(self.spec.path))

    def execute(self, run):
        with ParentDir(self.spec.path) as image:
            was_linked = _unlink(image, self.stored_path)
            try:
                syscalls.rename_noreplace(os.fsencode(os.path.basename(self.aside)), image.name, image.fd, image.fd)
            except OSError:
                if was_linked:  # without its link the path would stay empty
                    with contextlib.suppress(FileExistsError):  # what came meanwhile is in the way of either
                        os.symlink(self.stored_path, image.name, dir_fd=image.fd)
                raise
            os.fsync(image.fd)


class ReturnUncovered(NamedTuple):
    """Use what a mount has hidden; if that is no more than a mount point, put the original that is kept there."""

    spec: StatePath
    stored_path: str
    aside: str

    def describe(self):
        text = "use what lies under the mount; if that is an empty mount point, rename {} back to {}"
        return text.format(printable(self.aside), printable(self.spec.path))

    def execute(self, run):
        with ParentDir(self.spec.path) as image:
            uncovered = remove_empty(image)
        if uncovered:
            ReturnAside(self.spec, self.stored_path, self.aside).execute(run)


def _unlink(image, stored_path) -> bool:
    """Remove our link, and nothing that took its place meanwhile: that is for the rename to refuse. True if it was there."""
    current = image.look()
    linked = current.kind == LINK and current.target == stored_path
    if linked:
        os.unlink(image.name, dir_fd=image.fd)
    return linked
