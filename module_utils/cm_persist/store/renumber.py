# SPDX-License-Identifier: Apache-2.0
"""Give files in the store the numbers that their owners' names have now, and put right the top of a state path."""

import errno
import json
import os
import stat
import struct
from typing import NamedTuple, Tuple

from ..errors import StoreError, printable
from ..fs import syscalls
from ..fs.atomic import write_file
from ..fs.dirfd import lstat, open_directory, open_regular
from ..fs.rmtree import remove_tree
from ..host.mounts import mounts_at_or_below, read_mounts, real_path
from ..paths import StatePath, relative_of
from ..tree import metadata
from ..tree.sync import sync_tree
from ..tree.walk import LEAVE, walk
from .layout import BACKUPS, LARGEST, STATE
from .owners import Owners, Pass, after, write_owners
from .record import check_path, write_record

DELICATE = b"owner.json"  # what a file has that a change of its owner takes from it, until it has that again
CAPABILITY = "security.capability"
ACLS = ("system.posix_acl_access", "system.posix_acl_default")
ACL_ENTRY, ACL_USER, ACL_GROUP = struct.Struct("<HHI"), 0x02, 0x08  # linux/posix_acl_xattr.h


class Renumber(NamedTuple):
    """Do one pass: files of users and groups get other numbers. owners is what is written down before it."""

    owners: Owners
    moves: Pass
    names: Tuple[str, ...]

    def describe(self):
        """str: what will be done."""
        return "give the store's files the numbers that their owners have in this image: {}".format(", ".join(self.names))

    def execute(self, run):
        """Do it."""
        store, users, groups = run.store, dict(self.moves.users), dict(self.moves.groups)
        for kind, numbers in (("uid", users), ("gid", groups)):
            _refuse_unmapped(store.path, kind, numbers.values())
        _refuse_mounts(store, run.record)
        write_owners(store.state_fd, Owners(self.owners.accounts, self.moves))
        _finish_delicate(store)
        for key in sorted(run.record):
            _renumber_above(store, relative_of(key), users, groups)
            _renumber(run, store.fd, relative_of(key), b"", users, groups)
        _renumber(run, store.state_fd, BACKUPS, os.fsencode(STATE) + b"/", users, groups)
        remove_tree(store.state_fd, DELICATE)
        for entry in run.record.values():
            top = entry["top"]
            entry["top"] = dict(top, uid=users.get(top["uid"], top["uid"]), gid=groups.get(top["gid"], top["gid"]))
        write_record(store.state_fd, run.record)
        write_owners(store.state_fd, Owners(after(self.owners.accounts, self.moves)))


class WriteOwners(NamedTuple):
    """Write down what the store's owners are called."""

    owners: Owners
    store: str

    def describe(self):
        """str: what will be done."""
        return "write the names of owners, {}/.cm_persist/owners.json".format(self.store)

    def execute(self, run):
        """Do it."""
        write_owners(run.store.state_fd, self.owners)


class RepairTop(NamedTuple):
    """Give the top of a state path in the store the owner and mode back that a volume plug-in has widened."""

    spec: StatePath
    store: str
    mode: int

    def describe(self):
        """str: what will be done."""
        return "give {}{} its owner and its mode {:04o} back".format(self.store, printable(self.spec.path), self.mode)

    def execute(self, run):
        """Do it: the mode last, as it tells a run that is killed before that there is something to do.

        The owner is the record's, which knows by now what number that has in this image.
        """
        top = run.record[self.spec.key]["top"]
        parent = run.store.open_parent(self.spec.relative)
        try:
            fd = os.open(
                os.path.basename(self.spec.relative), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent
            )
            try:
                os.fchown(fd, top["uid"], top["gid"])
                os.fchmod(fd, self.mode)
                os.fsync(fd)
            finally:
                os.close(fd)
        finally:
            os.close(parent)


def _refuse_unmapped(store, kind, numbers, proc="/proc/self"):
    # Before the pass is begun: one that cannot be done would be tried for ever.
    with open(os.path.join(proc, kind + "_map")) as lines:
        ranges = [(int(first), int(first) + int(count)) for first, _outside, count in map(str.split, lines)]
    for number in numbers:
        if not any(first <= number < end for first, end in ranges):
            raise StoreError(
                store,
                "files in it would have to get {} {}, which this user namespace does not have".format(kind, number),
                "Start the image once where it has all of them, or build it so that its users keep their numbers.",
            )


def _refuse_mounts(store, keys):
    # What is mounted there is not the store's; a state path that is itself a mount somebody has chosen.
    table = read_mounts()
    places = [store.place("/" + os.fsdecode(relative_of(key))) for key in keys]
    found = [mount for place in places for mount in mounts_at_or_below(place, table) if mount != real_path(place)]
    for mount in found + mounts_at_or_below(store.state_path, table):
        said = "owners in the store get other numbers, and something is mounted there"
        raise StoreError(mount, said, "Unmount it, then start again.")


def _renumber_above(store, relative, users, groups):
    """Renumber the directories of the store that lead to a state path: they have the image's owners and modes, too."""
    names = relative.split(b"/")[:-1]
    for depth in range(len(names)):
        try:
            fd = open_directory(store.fd, b"/".join(names[: depth + 1]), store.path)
        except FileNotFoundError:
            return  # taken away by hand: another check tells of that
        try:
            status = os.fstat(fd)
            uid, gid = users.get(status.st_uid, -1), groups.get(status.st_gid, -1)
            if (uid, gid) != (-1, -1):
                os.fchown(fd, uid, gid)
                os.fsync(fd)
        finally:
            os.close(fd)


def _renumber(run, top_fd, relative, above, users, groups):
    """Renumber a tree; above (bytes) leads from the store to top_fd."""
    try:
        parent = open_directory(top_fd, os.path.dirname(relative), run.store.path)
    except FileNotFoundError:
        return  # taken away by hand: another check tells of that
    name = os.path.basename(relative)
    try:
        if lstat(name, parent) is None:
            return
        for visit in walk(parent, name):
            if visit.event != LEAVE:
                path = above + relative + (b"" if visit.path == b"." else b"/" + visit.path)
                _change(run.store, visit, path, users, groups)
        sync_tree(parent, name, run.release, run.fs_type)
    finally:
        os.close(parent)


def _change(store, visit, path, users, groups):
    status = visit.status
    uid, gid = users.get(status.st_uid, -1), groups.get(status.st_gid, -1)
    if (uid, gid) != (-1, -1):
        try:
            if stat.S_ISREG(status.st_mode) and (status.st_mode & 0o6000 or _capability(visit)):
                raise PermissionError(errno.EPERM, "it has more than an owner")
            os.chown(visit.name, uid, gid, dir_fd=visit.dir_fd, follow_symlinks=False)
        except PermissionError:
            if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
                raise
            _change_delicate(store, visit, path, status.st_uid if uid == -1 else uid, status.st_gid if gid == -1 else gid)
    if not stat.S_ISLNK(status.st_mode):
        _change_acls(store, visit, path, users, groups)


def _change_delicate(store, visit, path, uid, gid):
    # chown(2) takes set-user-ID and capabilities away, and an immutable file forbids it: so what it has is noted first.
    fd = os.open(visit.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=visit.dir_fd)
    try:
        flags, mode = syscalls.get_flags(fd), stat.S_IMODE(visit.status.st_mode)
    finally:
        os.close(fd)
    note = {"path": path.hex(), "uid": uid, "gid": gid, "mode": mode, "flags": flags, "inode": visit.status.st_ino}
    note["capability"] = _capability(visit).hex()
    write_file(store.state_fd, DELICATE, json.dumps(note).encode("ascii"))
    _finish_delicate(store)


def _finish_delicate(store):
    """Do, or do again, what the note of a delicate file says."""
    try:
        with open(open_regular(DELICATE, store.state_fd, LARGEST), "rb") as file:
            note = json.loads(file.read().decode("ascii"))
        path = relative_of(check_path("/" + bytes.fromhex(note["path"]).decode("utf-8", "surrogateescape")))
        uid, gid, mode, flags, inode_number = (int(note[key]) for key in ("uid", "gid", "mode", "flags", "inode"))
        capability = bytes.fromhex(note["capability"])
    except FileNotFoundError:
        return
    except (OSError, ValueError, KeyError, TypeError) as error:
        where = os.path.join(store.state_path, os.fsdecode(DELICATE))
        raise StoreError(where, "it cannot be read: {}".format(error), "Move it away, after a look at what it says.") from error
    try:
        parent = open_directory(store.fd, os.path.dirname(path), store.path)
    except FileNotFoundError:
        return  # taken away since
    try:
        fd = os.open(os.path.basename(path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
        try:
            if os.fstat(fd).st_ino != inode_number:
                return  # another tree took the place of the one that it was in
            if syscalls.get_flags(fd) & (syscalls.FLAG_IMMUTABLE | syscalls.FLAG_APPEND):
                syscalls.set_flags(fd, 0)
            os.fchown(fd, uid, gid)
            os.fchmod(fd, mode)
            if capability:
                os.setxattr(fd, CAPABILITY, capability)
            if flags:
                syscalls.set_flags(fd, flags)
            os.fsync(fd)
        finally:
            os.close(fd)
    except FileNotFoundError:
        return
    finally:
        os.close(parent)


def _capability(visit):
    return _attribute(visit, CAPABILITY)


def _attribute(visit, name):
    """bytes: an extended attribute of what a step of a walk found; b'' where it has none."""
    try:
        return os.getxattr(_place(visit), name, follow_symlinks=False)
    except OSError as error:
        if error.errno == errno.ENODATA or error.errno in metadata.NO_ATTRIBUTES:
            return b""
        raise


def _place(visit):
    return b"/proc/self/fd/%d/" % visit.dir_fd + visit.name


def _change_acls(store, visit, path, users, groups):
    for name in ACLS if stat.S_ISDIR(visit.status.st_mode) else ACLS[:1]:
        value = _attribute(visit, name)
        changed = _changed_acl(value, users, groups)
        if changed != value:
            try:
                os.setxattr(_place(visit), name, changed, follow_symlinks=False)
            except OSError as error:
                where, found = store.place("/" + printable(path)), "its ACL cannot be set: {}".format(os.strerror(error.errno))
                hint = "Change it by hand (setfacl), or clear what forbids it (chattr -ia), then start again."
                raise StoreError(where, found, hint) from error


def _changed_acl(value, users, groups):
    if len(value) % ACL_ENTRY.size != 4:
        return value
    entries = []
    for tag, permissions, number in ACL_ENTRY.iter_unpack(value[4:]):
        moved = {ACL_USER: users, ACL_GROUP: groups}.get(tag, {})
        entries.append(ACL_ENTRY.pack(tag, permissions, moved.get(number, number)))
    return value[:4] + b"".join(entries)
