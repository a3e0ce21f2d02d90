# SPDX-License-Identifier: Apache-2.0
"""The steps that mount the store over a state path, and unmount it again.

Next to each mount is a note: should the mount be lost, as by a reboot, the content that is then at the path is older than the
store's, and a start must know. A mount unit is removed before the path gets content of its own, so that no boot hides that again.
"""

import os
import stat
from typing import NamedTuple

from ..errors import LinkError, because, printable
from ..fs import syscalls
from ..fs.atomic import write_file
from ..fs.mkdirs import make_parents
from ..fs.node import ParentDir
from ..fs.rmtree import remove_tree
from ..host.mounts import mounts_at_or_below, read_mounts
from ..host.systemd import Unit
from ..original.notes import BY_START, bound_name
from ..paths import StatePath
from .checks import MAY_MOUNT
from .steps import as_in_store


class MakeMountPoint(NamedTuple):
    """Make an empty directory or file that the store's copy is mounted over."""

    spec: StatePath
    stored_path: str

    def describe(self):
        return "make the mount point {}".format(printable(self.spec.path))

    def execute(self, run):
        with ParentDir(self.spec.path) as parent:
            if stat.S_ISDIR(os.stat(self.stored_path).st_mode):
                os.mkdir(parent.name, 0o700, dir_fd=parent.fd)
            else:
                os.close(os.open(parent.name, os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=parent.fd))


class NoteMount(NamedTuple):
    """Note next to the state path that it is mounted over, and by what, so that a path that lost its mount is known as such."""

    spec: StatePath
    stored_path: str
    mounted_by: str

    def describe(self):
        by = "at each start" if self.mounted_by == BY_START else "by a unit"
        return "note next to {} that the store is mounted there {}".format(printable(self.spec.path), by)

    def execute(self, run):
        # Before the mount point and the mount, so that neither is ever there without a trace.
        make_parents(self.spec.path, as_in_store(self))
        with ParentDir(self.spec.path) as parent:
            write_file(parent.fd, bound_name(parent.name), self.mounted_by.encode("ascii"))


class Bind(NamedTuple):
    """Mount the store's copy over the state path, until container or machine stop."""

    spec: StatePath
    stored_path: str
    intact: bool  # nothing was changed before: if this fails, the note is removed again

    def describe(self):
        return "mount {} over {}".format(printable(self.stored_path), printable(self.spec.path))

    def execute(self, run):
        try:
            syscalls.bind_mount(os.fsencode(self.stored_path), os.fsencode(self.spec.path))
        except PermissionError as error:
            if self.intact:
                ForgetMount(self.spec).execute(run)
            found = "the store cannot be mounted over it: {}".format(because(error))
            raise LinkError(self.spec.path, found, MAY_MOUNT) from error


class BindByUnit(NamedTuple):
    """Have systemd mount the store's copy over the state path, now and at each boot."""

    spec: StatePath
    stored_path: str
    unit: Unit
    intact: bool  # as for Bind

    def describe(self):
        return "mount {} over {} by the unit {}".format(printable(self.stored_path), printable(self.spec.path), self.unit.name)

    def execute(self, run):
        try:
            run.systemd.install(self.unit, self.spec.path, self._is_mounted, "mount the store there")
        except LinkError:
            if self.intact and not self._is_mounted():  # otherwise the next run goes on with what is there
                ForgetMount(self.spec).execute(run)
            raise

    def _is_mounted(self):
        return os.path.samefile(self.stored_path, self.spec.path)


class Unmount(NamedTuple):
    """Unmount the store's copy from the state path."""

    spec: StatePath

    def describe(self):
        return "unmount {}".format(printable(self.spec.path))

    def execute(self, run):
        syscalls.unmount(os.fsencode(self.spec.path))  # if the path is in use, it fails, and nothing was changed
        if mounts_at_or_below(self.spec.path, read_mounts()):
            raise LinkError(self.spec.path, "something else was mounted there, too", "Unmount it, then start again.")


class RemoveUnit(NamedTuple):
    """Remove the mount unit of a state path."""

    spec: StatePath

    def describe(self):
        return "remove the mount unit of {}".format(printable(self.spec.path))

    def execute(self, run):
        run.systemd.remove(run.systemd.name(self.spec.path), self.spec.path)


class ForgetMount(NamedTuple):
    """Remove the note of a mount: what is at the path now belongs there."""

    spec: StatePath

    def describe(self):
        return "remove the note next to {} of what was mounted there".format(printable(self.spec.path))

    def execute(self, run):
        with ParentDir(self.spec.path) as parent:
            remove_tree(parent.fd, bound_name(parent.name))
            os.fsync(parent.fd)
