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
        with ParentDir(self.spec.path) as parent, contextlib.ExitStack() as stack:
            stored = stack.enter_context(run.store.parent_of(self.spec.relative))[0]
            # All of the copy is on disk before the link is removed.
            with copied_next_to(parent, stored, self.stored_path, run.release) as (private, warnings):
                run.warnings.extend(warnings)
                _unlink(parent, self.stored_path)
                # Before the name: with it the notes would say of the new content what they say of the old.
                for note in (bound_name(parent.name), removal_name(parent.name)):
                    remove_tree(parent.fd, note)
                syscalls.rename_noreplace(TREE, parent.name, private, parent.fd)
                os.fsync(parent.fd)
            remove_notes(parent)


class ReturnAside(NamedTuple):
    """Put the original that is kept under another name back at the state path, by a rename."""

    spec: StatePath
    stored_path: str
    aside: str

    def describe(self):
        return "rename {} back to {}".format(printable(self.aside), printable(self.spec.path))

    def execute(self, run):
        with ParentDir(self.spec.path) as parent:
            was_linked = _unlink(parent, self.stored_path)
            try:
                syscalls.rename_noreplace(os.fsencode(os.path.basename(self.aside)), parent.name, parent.fd, parent.fd)
            except OSError:
                if was_linked:  # without its link the path would stay empty
                    with contextlib.suppress(FileExistsError):  # what came meanwhile is in the way of either
                        os.symlink(self.stored_path, parent.name, dir_fd=parent.fd)
                raise
            os.fsync(parent.fd)


class ReturnUncovered(NamedTuple):
    """Use what a mount has hidden; if that is no more than a mount point, put the original that is kept there."""

    spec: StatePath
    stored_path: str
    aside: str

    def describe(self):
        text = "use what lies under the mount; if that is an empty mount point, rename {} back to {}"
        return text.format(printable(self.aside), printable(self.spec.path))

    def execute(self, run):
        with ParentDir(self.spec.path) as parent:
            uncovered = remove_empty(parent)
        if uncovered:
            ReturnAside(self.spec, self.stored_path, self.aside).execute(run)


def _unlink(parent, stored_path) -> bool:
    """Remove our link, and nothing that took its place meanwhile: that is for the rename to refuse. True if it was there."""
    current = parent.look()
    linked = current.kind == LINK and current.target == stored_path
    if linked:
        os.unlink(parent.name, dir_fd=parent.fd)
    return linked
