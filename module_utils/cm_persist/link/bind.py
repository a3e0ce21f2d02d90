# SPDX-License-Identifier: Apache-2.0
"""The operations that mount the store over a state path, and take it off again.

Beside each mount lies a note: should the mount be lost, as by a reboot, what is then at the path is older than the store, and a
start must know. A mount unit is removed before the path gets content of its own, so that no boot hides that again.
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
from .steps import as_in_store


class MakeMountPoint(NamedTuple):
    """Make the place that the store's copy is mounted over."""

    spec: StatePath
    place: str

    def describe(self):
        """str: what will be done."""
        return "make the mount point {}".format(printable(self.spec.path))

    def execute(self, run):
        """Do it."""
        with ParentDir(self.spec.path) as image:
            if stat.S_ISDIR(os.stat(self.place).st_mode):
                os.mkdir(image.name, 0o700, dir_fd=image.fd)
            else:
                os.close(os.open(image.name, os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=image.fd))


class NoteMount(NamedTuple):
    """Note beside the state path that it is mounted over, and by whom, so that a path that lost its mount is known as such."""

    spec: StatePath
    place: str
    mounter: str

    def describe(self):
        """str: what will be done."""
        by = "at each start" if self.mounter == BY_START else "by a unit"
        return "note beside {} that the store is mounted there {}".format(printable(self.spec.path), by)

    def execute(self, run):
        """Do it: before the mount point and the mount, so that neither is ever there without a trace."""
        make_parents(self.spec.path, as_in_store(self))
        with ParentDir(self.spec.path) as image:
            write_file(image.fd, bound_name(image.name), self.mounter.encode("ascii"))


class Bind(NamedTuple):
    """Mount the store's copy over the state path, until container or machine stop. new says that nothing was changed before."""

    spec: StatePath
    place: str
    new: bool

    def describe(self):
        """str: what will be done."""
        return "mount {} over {}".format(printable(self.place), printable(self.spec.path))

    def execute(self, run):
        """Do it."""
        try:
            syscalls.bind_mount(os.fsencode(self.place), os.fsencode(self.spec.path))
        except PermissionError as error:
            if self.new:
                ForgetMount(self.spec).execute(run)
            raise LinkError(
                self.spec.path,
                "the store cannot be mounted over it: {}".format(because(error)),
                "Give the container the capability SYS_ADMIN, or use the method symlink.",
            ) from error


class BindByUnit(NamedTuple):
    """Have systemd mount the store's copy over the state path, now and at each boot. new as for Bind."""

    spec: StatePath
    place: str
    unit: Unit
    new: bool

    def describe(self):
        """str: what will be done."""
        return "mount {} over {} by the unit {}".format(printable(self.place), printable(self.spec.path), self.unit.name)

    def execute(self, run):
        """Do it; that it is mounted is believed when it is seen."""
        try:
            run.systemd.install(self.unit, self.spec.path, self._is_mounted, "mount the store there")
        except LinkError:
            if self.new and not self._is_mounted():  # else the next run goes on with what is there
                ForgetMount(self.spec).execute(run)
            raise

    def _is_mounted(self):
        return os.path.samefile(self.place, self.spec.path)


class Unmount(NamedTuple):
    """Unmount the store's copy from the state path."""

    spec: StatePath

    def describe(self):
        """str: what will be done."""
        return "unmount {}".format(printable(self.spec.path))

    def execute(self, run):
        """Do it: a path in use is busy, and then nothing was changed."""
        syscalls.unmount(os.fsencode(self.spec.path))
        if mounts_at_or_below(self.spec.path, read_mounts()):
            raise LinkError(self.spec.path, "something else was mounted there, too", "Unmount it, then start again.")


class RemoveUnit(NamedTuple):
    """Remove the mount unit of a state path."""

    spec: StatePath

    def describe(self):
        """str: what will be done."""
        return "remove the mount unit of {}".format(printable(self.spec.path))

    def execute(self, run):
        """Do it."""
        run.systemd.remove(run.systemd.name(self.spec.path), self.spec.path)


class ForgetMount(NamedTuple):
    """Remove the note of a mount: what stands at the path is what is meant to."""

    spec: StatePath

    def describe(self):
        """str: what will be done."""
        return "remove the note beside {} of what was mounted there".format(printable(self.spec.path))

    def execute(self, run):
        """Do it."""
        with ParentDir(self.spec.path) as image:
            remove_tree(image.fd, bound_name(image.name))
            os.fsync(image.fd)
