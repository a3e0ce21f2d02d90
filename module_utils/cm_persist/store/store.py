# SPDX-License-Identifier: Apache-2.0
"""The store: whether there is one, and the descriptors through which it is read and written."""

import contextlib
import errno
import os
import stat
from typing import NamedTuple, Optional

from ..errors import AS_ROOT, StoreError, because, printable, writable_hint
from ..fs.dirfd import OPEN_DIRECTORY, lstat, open_directory, same_mount
from ..fs.node import Node, look, look_inside
from ..host.mounts import Mount, mount_holding
from .layout import MANIFESTS, STAGING, STATE


@contextlib.contextmanager
def working_on(path):
    """Turn an OSError that nothing closer to it expected, as of a failing disk, into a StoreError; path (str) is the store."""
    try:
        yield
    except OSError as error:
        raise StoreError(path, "working on it failed: {}".format(because(error)), writable_hint(error)) from error


def trigger_automount(path):
    """Have an automount mount what it should, so that the mount table tells of that: a look alone does not make it."""
    with contextlib.suppress(OSError):  # what is wrong there, find_store() tells
        os.close(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))


class Found(NamedTuple):
    """What is at the store's place: path (str), why there is no store ('' if there is one), and its mount."""

    path: str
    absent: str
    mount: Optional[Mount]


def find_store(path, require_mount, mounts):
    """Look whether the store is there.

    Args:
        path (str): where it should be.
        require_mount (bool): it counts only on a mount of its own, not on the file system of /.
        mounts (list of Mount): the mount table.

    Returns:
        Found: with a reason where there is no store.

    Raises:
        StoreError: something else than a directory is there, or a dangling link.
    """
    try:
        status = os.stat(path)
    except FileNotFoundError:
        if os.path.islink(path):
            raise StoreError(
                path,
                "the store is a dangling symbolic link to {}".format(os.readlink(path)),
                "Mount the volume at its target, or remove the link.",
            ) from None
        return Found(path, "{} does not exist".format(path), None)
    except OSError as error:
        raise StoreError(
            path, "the store cannot be looked at: {}".format(because(error)), "Remove what stands in its way."
        ) from error
    if not stat.S_ISDIR(status.st_mode):
        raise StoreError(
            path, "the store is not a directory", "Mount the volume there, or name its mount point in cm_persist_store."
        )
    mount = mount_holding(path, mounts)
    if require_mount and (mount is None or mount.mount_point == "/"):
        return Found(path, "no volume is mounted at {}".format(path), mount)
    return Found(path, "", mount)


@contextlib.contextmanager
def required_store(path, require_mount, machine):
    """Open a store that has to be there; arguments as of find_store(), with the machine (Machine).

    Yields:
        Store.
    """
    with working_on(path):
        trigger_automount(path)
        found = find_store(path, require_mount, machine.mounts())
        if found.absent:
            raise StoreError(path, "there is no store: {}".format(found.absent), "Mount the volume.", store_state="absent")
        with Store(path) as store:
            yield store


class Store:
    """An existing store, open.

    Attributes:
        path (str): where it is mounted, as the user says it.
        fd (int): its directory.
        state_path (str): <store>/.cm_persist.
        state_fd (int): that directory; None until it exists.
    """

    def __init__(self, path):
        self.path = path
        self.state_path = os.path.join(path, STATE)
        try:
            self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise StoreError(path, "the store cannot be opened: {}".format(because(error)), AS_ROOT) from error
        self.state_fd = self._open_state()

    def __enter__(self):
        return self

    def __exit__(self, *_unused):
        for fd in (self.fd, self.state_fd):
            if fd is not None:
                os.close(fd)

    def find_state(self):
        """Open the state directory, if another process has made it since."""
        if self.state_fd is None:
            self.state_fd = self._open_state()

    def make_state(self):
        """Make the state directory, private to this user, unless it is there."""
        if self.state_fd is None:
            try:
                os.mkdir(STATE, 0o700, dir_fd=self.fd)
                os.fsync(self.fd)
            except FileExistsError:
                pass  # another starter was quicker; the lock decides what comes next
            except OSError as error:
                raise StoreError(self.state_path, "it cannot be made: {}".format(because(error)), writable_hint(error)) from error
            self._refuse_squashed()
            self.state_fd = self._open_state()

    def open_private(self, name):
        """int: a directory in the state directory, made if need be; the caller closes it."""
        with contextlib.suppress(FileExistsError):  # what it is, the opening tells
            os.mkdir(name, 0o700, dir_fd=self.state_fd)
        return open_directory(self.state_fd, name, self.state_path)

    def open_parent(self, relative):
        """int: the directory in the store that holds a state path (relative is bytes); the caller closes it.

        Raises:
            StoreError: something on the way is no directory.
            FileNotFoundError: it is not there.
        """
        return open_directory(self.fd, os.path.dirname(relative), self.path)

    def look(self, relative, inside=False):
        """Node: what the store has at a state path (relative is bytes); inside, whether to list a directory."""
        try:
            parent = self.open_parent(relative)
        except FileNotFoundError:
            return Node()
        try:
            return (look_inside if inside else look)(parent, os.path.basename(relative))
        except OSError as error:
            where = self.path + "/" + printable(relative)
            raise StoreError(where, "it cannot be looked at: {}".format(because(error)), AS_ROOT) from error
        finally:
            os.close(parent)

    def place(self, state_path):
        """str: where a state path lies in the store."""
        return self.path + state_path

    def _refuse_squashed(self):
        made = lstat(STATE, self.fd)
        if made is not None and made.st_uid != os.geteuid():
            with contextlib.suppress(OSError):  # not ours, or not empty: then the next look tells
                os.rmdir(STATE, dir_fd=self.fd)
            raise StoreError(
                self.state_path,
                "what is made there belongs to user {}, not to {}".format(made.st_uid, os.geteuid()),
                "NFS must export the volume with no_root_squash.",
            )

    def other_mount(self, relative):
        """bool: whether the directory that is to hold a state path lies on another mount or subvolume than the store.

        A rename cannot go there. Of a path that is not there yet, what exists of it counts; relative is bytes.
        """
        directory = os.path.dirname(relative)
        while directory:
            try:
                fd = open_directory(self.fd, directory, self.path)
            except FileNotFoundError:
                directory = os.path.dirname(directory)
                continue
            try:
                # A bind mount of the same file system has its device number, a subvolume of btrfs the mount's number.
                return not same_mount(fd, self.fd) or os.fstat(fd).st_dev != os.fstat(self.fd).st_dev
            finally:
                os.close(fd)
        return False

    def _open_state(self):
        try:
            fd = os.open(STATE, OPEN_DIRECTORY, dir_fd=self.fd)
        except FileNotFoundError:
            return None
        except OSError as error:
            hint = AS_ROOT if error.errno == errno.EACCES else "Remove or rename it, after a look at where it came from."
            raise StoreError(self.state_path, "the state directory cannot be opened: {}".format(because(error)), hint) from error
        status = os.fstat(fd)
        if status.st_uid not in (0, os.geteuid()) or status.st_mode & stat.S_IWOTH:
            os.close(fd)
            raise StoreError(
                self.state_path,
                "the state directory belongs to user {} with mode {:04o}".format(status.st_uid, stat.S_IMODE(status.st_mode)),
                "It must be root's and not be writable for everyone; find out who changed it before you give it back.",
            )
        for name in (".", STAGING, MANIFESTS):
            self._refuse_mount(fd, name)
        return fd

    def _refuse_mount(self, state_fd, name):
        # What is mounted there hides what we know, and is not ours to write to or to clear.
        try:
            fd = os.open(name, OPEN_DIRECTORY, dir_fd=state_fd)
        except OSError:
            return  # not there, or no directory: whoever needs it tells
        try:
            mounted = not same_mount(fd, self.fd)
        finally:
            os.close(fd)
        if mounted:
            os.close(state_fd)
            where = os.path.normpath(os.path.join(self.state_path, os.fsdecode(name)))
            raise StoreError(where, "something is mounted there", "Unmount it: the state directory must be the volume's own.")
