# SPDX-License-Identifier: Apache-2.0
"""Give files in the store the numbers that their owners' names have now, and repair the top of a state path."""

import errno
import os
import stat
from typing import Dict, NamedTuple, Tuple

from ..errors import StoreError, printable
from ..fs import syscalls
from ..fs.atomic import INVALID, read_json, write_json
from ..fs.dirfd import Opened
from ..fs.rmtree import remove_tree
from ..host.mounts import mounts_at_or_below, real_path
from ..paths import relative_of
from .layout import LARGEST
from .numbers import acls, attribute, changed_acl, directories_above, nodes, proc_path, trees
from .owners import Owners, Pass, after, write_owners
from .record import check_path, write_record

READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# What chown(2) would take from a file, until the file has it again.
DELICATE = b"owner.json"
CAPABILITY = "security.capability"


class Renumber(NamedTuple):
    """Do one pass: files of users and groups get other numbers. owners is what is on disk before it."""

    owners: Owners
    moves: Pass
    names: Tuple[str, ...]

    def describe(self):
        return "give the store's files the numbers that their owners have in this image: {}".format(", ".join(self.names))

    def execute(self, run):
        store, accounts = run.store, self.owners.accounts
        change = _Change(run, dict(self.moves.users), dict(self.moves.groups))
        change.refuse()
        write_owners(store.state_fd, Owners(accounts, self.moves))
        _finish_delicate(store)
        change.apply()
        remove_tree(store.state_fd, DELICATE)
        for entry in run.record.values():
            entry["top"] = change.of_top(entry["top"])
        write_record(store.state_fd, run.record)
        write_owners(store.state_fd, Owners(after(accounts, self.moves)))


class WriteOwners(NamedTuple):
    """Write the names of the store's owners."""

    owners: Owners
    store: str

    def describe(self):
        return "write the names of owners, {}/.cm_persist/owners.json".format(self.store)

    def execute(self, run):
        write_owners(run.store.state_fd, self.owners)


class _Change:
    """One pass over all trees of the store: which numbers become which."""

    def __init__(self, run, users: Dict[int, int], groups: Dict[int, int]):
        self._run, self._store, self._users, self._groups = run, run.store, users, groups

    def refuse(self):
        # Before the pass starts: a pass that cannot be done would be tried for ever.
        for kind, numbers in (("uid", self._users), ("gid", self._groups)):
            _refuse_unmapped(self._store.path, kind, numbers.values())
        self._refuse_mounts()

    def apply(self):
        # The directories of the store that lead to a state path have the image's owners and modes, too.
        for fd, _path in directories_above(self._store, self._run.record):
            uid, gid = self._numbers(os.fstat(fd))
            if (uid, gid) != (-1, -1):
                os.fchown(fd, uid, gid)
                os.fsync(fd)
        for parent, name, top in trees(self._store, self._run.record):
            for visit, path in nodes(parent, name, top):
                self._node(visit, path)
            self._run.sync(parent, name)

    def of_top(self, top):
        return dict(top, uid=self._users.get(top["uid"], top["uid"]), gid=self._groups.get(top["gid"], top["gid"]))

    def _refuse_mounts(self):
        # A mount's content is not the store's; a state path that is itself a mount was somebody's choice.
        table = self._run.machine.mounts()
        places = [self._store.place("/" + os.fsdecode(relative_of(key))) for key in self._run.record]
        found = [mount for place in places for mount in mounts_at_or_below(place, table) if mount != real_path(place)]
        for mount in found + mounts_at_or_below(self._store.state_path, table):
            reason = "owners in the store get other numbers, and something is mounted there"
            raise StoreError(mount, reason, "Unmount it, then start again.")

    def _node(self, visit, path):
        status = visit.status
        uid, gid = self._numbers(status)
        if (uid, gid) != (-1, -1):
            try:
                if stat.S_ISREG(status.st_mode) and (status.st_mode & 0o6000 or attribute(visit, CAPABILITY)):
                    raise PermissionError(errno.EPERM, "it has more than an owner")
                os.chown(visit.name, uid, gid, dir_fd=visit.dir_fd, follow_symlinks=False)
            except PermissionError:
                if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
                    raise
                owner = status.st_uid if uid == -1 else uid, status.st_gid if gid == -1 else gid
                _change_delicate(self._store, visit, path, owner)
        self._acls(visit, path)

    def _acls(self, visit, path):
        for name, value in acls(visit):
            changed = changed_acl(value, self._users, self._groups)
            if changed != value:
                try:
                    os.setxattr(proc_path(visit), name, changed, follow_symlinks=False)
                except OSError as error:
                    where = self._store.place("/" + printable(path))
                    found = "its ACL cannot be set: {}".format(os.strerror(error.errno))
                    hint = "Change it by hand (setfacl), or clear what forbids it (chattr -ia), then start again."
                    raise StoreError(where, found, hint) from error

    def _numbers(self, status):
        return self._users.get(status.st_uid, -1), self._groups.get(status.st_gid, -1)


def _refuse_unmapped(store, kind, numbers, proc="/proc/self"):
    with open(os.path.join(proc, kind + "_map")) as lines:
        ranges = [(int(first), int(first) + int(count)) for first, _outside, count in map(str.split, lines)]
    for number in numbers:
        if not any(first <= number < end for first, end in ranges):
            found = "files in it would have to get {} {}, which this user namespace does not have".format(kind, number)
            hint = "Start the image once where it has all of them, or build it so that its users keep their numbers."
            raise StoreError(store, found, hint)


def _change_delicate(store, visit, path, owner):
    # chown(2) takes set-user-ID and capabilities away, and an immutable file forbids it: a note keeps them until they are back.
    with Opened(os.open(visit.name, READ, dir_fd=visit.dir_fd)) as fd:
        flags = syscalls.get_flags(fd)
    note = {
        "path": path.hex(),
        "uid": owner[0],
        "gid": owner[1],
        "mode": stat.S_IMODE(visit.status.st_mode),
        "flags": flags,
        "inode": visit.status.st_ino,
        "capability": attribute(visit, CAPABILITY).hex(),
    }
    write_json(store.state_fd, DELICATE, note)
    _finish_delicate(store)


def _finish_delicate(store):
    """Do, or do again, what the note of a delicate file says."""
    note = _read_delicate(store)
    if note is None:
        return
    try:
        with _opened_node(store, note["path"]) as fd:
            if os.fstat(fd).st_ino != note["inode"]:
                return  # another tree took the place of the file's
            if syscalls.get_flags(fd) & (syscalls.FLAG_IMMUTABLE | syscalls.FLAG_APPEND):
                syscalls.set_flags(fd, 0)
            os.fchown(fd, note["uid"], note["gid"])
            os.fchmod(fd, note["mode"])
            if note["capability"]:
                os.setxattr(fd, CAPABILITY, note["capability"])
            if note["flags"]:
                syscalls.set_flags(fd, note["flags"])
            os.fsync(fd)
    except FileNotFoundError:
        return  # removed since


def _opened_node(store, relative) -> Opened:
    with store.parent_of(relative) as (parent, name):
        return Opened(os.open(name, READ, dir_fd=parent))


def _read_delicate(store):
    try:
        note = read_json(store.state_fd, DELICATE, LARGEST)
        numbers = {key: int(note[key]) for key in ("uid", "gid", "mode", "flags", "inode")}
        key = check_path("/" + bytes.fromhex(note["path"]).decode("utf-8", "surrogateescape"))
        return dict(numbers, path=relative_of(key), capability=bytes.fromhex(note["capability"]))
    except FileNotFoundError:
        return None
    except INVALID as error:
        where = os.path.join(store.state_path, os.fsdecode(DELICATE))
        raise StoreError(where, "it cannot be read: {}".format(error), "Move it away, after a look at what it says.") from error
