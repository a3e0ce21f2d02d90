# SPDX-License-Identifier: Apache-2.0
"""The store: whether there is one, and the descriptors through which a run reads and writes it."""

import contextlib
import errno
import os
import stat
from typing import Iterator, List, NamedTuple, Optional, Tuple

from ..errors import AS_ROOT, StoreError, because, printable, writable_hint
from ..fs.dirfd import OPEN_DIRECTORY, Opened, lstat, open_directory, same_mount
from ..fs.node import Node, look
from ..host.mounts import Mount, mount_holding
from .layout import MANIFESTS, STAGING, STATE


class Found(NamedTuple):
    """What is at the store's path: why there is no store ('' if there is one), its mount, and the store itself if it is open."""

    path: str
    absent: str
    mount: Optional[Mount]
    store: Optional["Store"] = None


@contextlib.contextmanager
def working_on(path: str):
    """Turn an OSError that nothing closer to it expected, as of a failing disk, into a StoreError for this store."""
    try:
        yield
    except OSError as error:
        raise StoreError(path, "working on it failed: {}".format(because(error)), writable_hint(error)) from error


def trigger_automount(path: str):
    """Have an automount mount the volume, so that the mount table shows it: stat(2) alone does not trigger it."""
    with contextlib.suppress(OSError):  # find_store() reports what is wrong there
        os.close(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))


def find_store(path: str, require_mount: bool, mounts: List[Mount]) -> Found:
    """Whether the store is there. With require_mount it counts only on a mount of its own, not on the file system of /. Raises
    StoreError if the path is something else than a directory, or a dangling link."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        if os.path.islink(path):
            found = "the store is a dangling symbolic link to {}".format(os.readlink(path))
            raise StoreError(path, found, "Mount the volume at its target, or remove the link.") from None
        return Found(path, "{} does not exist".format(path), None)
    except OSError as error:
        found = "the store cannot be looked at: {}".format(because(error))
        raise StoreError(path, found, "Remove what is in its way.") from error
    if not stat.S_ISDIR(status.st_mode):
        hint = "Mount the volume there, or name its mount point in cm_persist_store."
        raise StoreError(path, "the store is not a directory", hint)
    mount = mount_holding(path, mounts)
    if require_mount and (mount is None or mount.mount_point == "/"):
        return Found(path, "no volume is mounted at {}".format(path), mount)
    return Found(path, "", mount)


@contextlib.contextmanager
def opened_store(path: str, require_mount: bool, machine) -> Iterator[Found]:
    """Find the store, and open it, if there is one, for the length of a with block."""
    with working_on(path), contextlib.ExitStack() as stack:
        trigger_automount(path)
        found = find_store(path, require_mount, machine.mounts())
        yield found if found.absent else found._replace(store=stack.enter_context(Store(path)))


@contextlib.contextmanager
def required_store(path: str, require_mount: bool, machine) -> Iterator["Store"]:
    """Open a store that has to be there, for an operation that makes no sense without one. Raises StoreError if it is not."""
    with opened_store(path, require_mount, machine) as found:
        if found.absent:
            raise StoreError(path, "there is no store: {}".format(found.absent), "Mount the volume.", store_state="absent")
        yield found.store


class Store:
    """An existing store, open for the length of a with block.

    path is where it is mounted, as the user spells it; fd its directory; state_path is <store>/.cm_persist, and state_fd that
    directory, None until it exists.
    """

    def __init__(self, path: str):
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

    @property
    def read_only(self) -> bool:
        """True if nothing can be written to the volume."""
        return bool(os.fstatvfs(self.fd).f_flag & os.ST_RDONLY)

    def find_state(self):
        """Open the state directory if another process has made it since."""
        if self.state_fd is None:
            self.state_fd = self._open_state()

    def make_state(self):
        """Make the state directory, private to this user, unless it exists."""
        if self.state_fd is None:
            try:
                os.mkdir(STATE, 0o700, dir_fd=self.fd)
                os.fsync(self.fd)
            except FileExistsError:
                pass  # another run was quicker; the lock decides what comes next
            except OSError as error:
                raise StoreError(self.state_path, "it cannot be made: {}".format(because(error)), writable_hint(error)) from error
            made = lstat(STATE, self.fd)
            if made is not None and made.st_uid != os.geteuid():
                with contextlib.suppress(OSError):  # not ours, or not empty: then opening it reports that
                    os.rmdir(STATE, dir_fd=self.fd)
                found = "what is made there belongs to user {}, not to {}".format(made.st_uid, os.geteuid())
                raise StoreError(self.state_path, found, "NFS must export the volume with no_root_squash.")
            self.state_fd = self._open_state()

    def private_dir(self, name: bytes) -> Opened:
        """A directory in the state directory, made if need be, open for the length of a with block."""
        with contextlib.suppress(FileExistsError):  # opening it reports if it is something else
            os.mkdir(name, 0o700, dir_fd=self.state_fd)
        return Opened(open_directory(self.state_fd, name, self.state_path))

    @contextlib.contextmanager
    def parent_of(self, relative: bytes) -> Iterator[Tuple[int, bytes]]:
        """Open the directory in the store that holds a state path, and give it with the path's name in it. Raises StoreError if a
        component on the way is no directory, and FileNotFoundError if the directory is missing."""
        with Opened(open_directory(self.fd, os.path.dirname(relative), self.path)) as fd:
            yield fd, os.path.basename(relative)

    def look(self, relative: bytes, inside: bool = False) -> Node:
        """What the store has at a state path; inside: also say whether a directory is empty."""
        try:
            parent = open_directory(self.fd, os.path.dirname(relative), self.path)
        except FileNotFoundError:
            return Node()
        with Opened(parent):
            try:
                return look(parent, os.path.basename(relative), inside)
            except OSError as error:
                where = self.path + "/" + printable(relative)
                raise StoreError(where, "it cannot be looked at: {}".format(because(error)), AS_ROOT) from error

    def place(self, state_path: str) -> str:
        """Where a state path lies in the store."""
        return self.path + state_path

    def manifest_path(self, name: str) -> str:
        """The path of a manifest, by its name in the record."""
        return os.path.join(self.state_path, os.fsdecode(MANIFESTS), name)

    def other_mount(self, relative: bytes) -> bool:
        """True if no rename leads to a state path: its directory, or the closest there is above it, is on another mount."""
        directory = os.path.dirname(relative)
        while directory:
            try:
                fd = open_directory(self.fd, directory, self.path)
            except FileNotFoundError:
                directory = os.path.dirname(directory)
                continue
            with Opened(fd):
                # A bind mount of the same file system has its device number, a subvolume of btrfs the mount's number.
                return not same_mount(fd, self.fd) or os.fstat(fd).st_dev != os.fstat(self.fd).st_dev
        return False

    def _open_state(self):
        try:
            fd = os.open(STATE, OPEN_DIRECTORY, dir_fd=self.fd)
        except FileNotFoundError:
            return None
        except OSError as error:
            hint = AS_ROOT if error.errno == errno.EACCES else "Remove or rename it, after a look at where it came from."
            raise StoreError(self.state_path, "the state directory cannot be opened: {}".format(because(error)), hint) from error
        try:
            status = os.fstat(fd)
            if status.st_uid not in (0, os.geteuid()) or status.st_mode & stat.S_IWOTH:
                found = "the state directory belongs to user {} with mode {:04o}"
                hint = "It must be root's and not be writable for everyone; find out who changed it before you give it back."
                raise StoreError(self.state_path, found.format(status.st_uid, stat.S_IMODE(status.st_mode)), hint)
            for name in (".", STAGING, MANIFESTS):
                self._refuse_mount(fd, name)
        except StoreError:
            os.close(fd)
            raise
        return fd

    def _refuse_mount(self, state_fd, name):
        # A mount there hides the books, and is not ours to write to or to clear.
        try:
            fd = os.open(name, OPEN_DIRECTORY, dir_fd=state_fd)
        except OSError:
            return  # not there, or no directory: whoever needs it reports that
        with Opened(fd):
            if not same_mount(fd, self.fd):
                where = os.path.join(self.state_path, os.fsdecode(name))
                hint = "Unmount it: the state directory must be the volume's own."
                raise StoreError(os.path.normpath(where), "something is mounted there", hint)
