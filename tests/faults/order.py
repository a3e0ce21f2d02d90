# SPDX-License-Identifier: Apache-2.0
"""Judge the order of a start's system calls, as `strace -f -y` shows them: what must be on disk before what.

A call that is not known to read only is a change of what it names, so a new way to write is not missed. Time is counted in
lines of the trace; a sync holds what was changed before the line on which it began, once the line comes on which it ended.
"""

import os
import re
from typing import NamedTuple

STRACE = ("strace", "-f", "-y", "-qq", "-s", "4096")
LINE = re.compile(r"(?P<pid>\d+) +(?P<name>\w+)\((?P<arguments>.*)\) += (?P<result>-?\w+)")
HALF = re.compile(r"(?P<pid>\d+) +(?P<head>\w+\(.*) <unfinished \.\.\.>$")
REST = re.compile(r"(?P<pid>\d+) +<\.\.\. \w+ resumed>(?P<tail>.*)")
DESCRIPTOR = re.compile(r'(\d+|AT_FDCWD)<([^>]*)>(?:, "((?:[^"\\]|\\.)*)")?')
PATH = re.compile(r'"(/[^"]*)"')
BY_NAME = re.compile(r".*at2?$")  # these take a directory and a name in it
OWN = re.compile(r"/proc/self/fd/(\d+)(.*)")
SYNCS = {"fsync", "fdatasync", "syncfs"}
READS = {
    "access", "close", "execve", "faccessat", "faccessat2", "fadvise64", "fcntl", "fgetxattr", "flistxattr", "flock", "fstat",
    "fstatfs", "getdents64", "getxattr", "lgetxattr", "listxattr", "llistxattr", "lseek", "lstat", "mmap", "newfstatat",
    "openat", "pread64", "read", "readlink", "readlinkat", "readv", "stat", "statfs", "statx",
}  # fmt: skip


class Call(NamedTuple):
    """A call that succeeded: on which line it began and ended, and the paths it names."""

    begin: int
    end: int
    name: str
    arguments: str
    paths: tuple


def calls(lines):
    """list of Call: every one that succeeded, in the order in which they count: a rename once it begins, all else at its end."""
    return sorted(_parse(lines), key=lambda call: call.begin if call.name.startswith("rename") else call.end)


def _parse(lines):
    begun, descriptors = {}, {}
    for number, line in enumerate(lines, 1):
        # A process begins with the descriptors of the first, which forked it.
        own = descriptors.setdefault(line.split(" ")[0], dict(next(iter(descriptors.values()), {})))
        begin = number
        half, rest = HALF.match(line), REST.match(line)
        if half:
            begun[half["pid"]] = number, half["head"]
            continue
        if rest:
            begin, head = begun.pop(rest["pid"], (number, ""))
            line = "{} {}{}".format(rest["pid"], head, rest["tail"])
        found = LINE.match(line)
        own.update((fd, path) for fd, path, _name in DESCRIPTOR.findall(line))
        if found and not found["result"].startswith("-"):
            yield Call(begin, number, found["name"], found["arguments"], _paths(found["name"], found["arguments"], own))


def _paths(name, arguments, descriptors):
    found = DESCRIPTOR.findall(arguments)
    if BY_NAME.match(name):
        return tuple(os.path.normpath(os.path.join(path, name_in_it)) for _fd, path, name_in_it in found)
    if name in ("copy_file_range", "splice"):  # from the first to the second
        return (found[1][1],)
    if found:
        return tuple(path for _fd, path, _text in found)
    paths = [(path, OWN.match(path)) for path in PATH.findall(arguments)]
    return tuple(descriptors[own[1]] + own[2] if own else path for path, own in paths)


class Inode:
    """A file or directory: kind (what made it), when it was last changed, and when the last sync of it began."""

    def __init__(self, kind="", changed=0):
        self.kind, self.changed, self.synced = kind, changed, 0


class Judge:
    """Follows the names and inodes of a store through a trace.

    Args:
        store (str): the store.
        image (str): where the originals lie.
        originals (list of str): their paths.
    """

    def __init__(self, store, image, originals):
        self.found = []
        self._store, self._image = store, image
        self._record = store + "/.cm_persist/record.json"
        self._manifests = store + "/.cm_persist/manifests"
        self._missing = {store + path for path in originals}
        self._published = set()
        self._names, self._named = {store: Inode("mkdirat")}, {store: 0}
        self._synced = 0  # all of the file system
        self._recorded = self._touched = False

    def hear(self, call):
        """Take the next call."""
        name, path = call.name, call.paths[-1] if call.paths else ""
        if name in SYNCS:
            self._sync(call, path)
        elif self._reads(call) or not any(_inside(path, top) for path in call.paths for top in (self._store, self._image)):
            return
        elif any(_inside(path, self._image) for path in call.paths):
            self._touch()
        elif name.startswith("rename"):
            self._rename(call, *call.paths)
        elif name.startswith("unlink"):
            self._change_directory(path, call.end)
            self._names.pop(path, None)
        elif name == "linkat":
            self._name(path, self._inode(call.paths[0]), call.end)
        elif name.startswith(("mkdir", "mknod", "symlink")) or (name == "openat" and path not in self._names):
            kind = "openat" if "S_IFREG" in call.arguments else name
            self._name(path, Inode(kind, call.end), call.end)
        else:
            self._inode(path).changed = call.end

    def finish(self):
        """list of str: all that is wrong."""
        self.found += ["{} was never published".format(path) for path in sorted(self._missing)]
        self.found += [] if self._recorded else ["no record was written"]
        self.found += [] if self._touched else ["no original was linked"]
        return self.found

    def _reads(self, call):
        if call.name == "openat":
            created = "O_CREAT" in call.arguments and call.paths[-1] not in self._names
            return not created and "O_TRUNC" not in call.arguments
        return call.name in READS or (call.name == "ioctl" and ("GETFLAGS" in call.arguments or "TCGETS" in call.arguments))

    def _sync(self, call, path):
        if call.name == "syncfs" and _inside(path, self._store):
            self._synced = call.begin
        elif path in self._names:
            self._names[path].synced = call.begin

    def _rename(self, call, source, target):
        self._expect_synced(source, "before it was renamed to " + target)
        if target in self._missing:
            self._missing.remove(target)
            self._published.add(target)
            if call.name != "renameat2" or "RENAME_NOREPLACE" not in call.arguments:
                self.found.append("{} was published by a rename that replaces".format(target))
            beside = [path for path in self._below(os.path.dirname(source), "openat") if not _inside(path, source)]
            for path in beside + self._below(self._manifests, "openat"):
                self._expect_lasting(path, "before {} was published".format(target))
        elif target == self._record:
            self._recorded = True
            self._expect_all_published()
        moved = [path for path in self._names if _inside(path, source)]
        for path in moved:
            self._names[target + path[len(source) :]] = self._names.pop(path)
            self._named[target + path[len(source) :]] = self._named.pop(path)
        self._named[target] = call.end
        for path in (source, target):
            self._change_directory(path, call.end)

    def _expect_all_published(self):
        if self._missing or len(self._below(self._manifests, "openat")) < len(self._published):
            self.found.append("the record came before a path or a manifest")
        for path in sorted(self._published):
            self._expect_synced(path, "before the record")
            self._expect_lasting(path, "before the record")

    def _touch(self):
        if not self._touched:
            self._touched = True
            if not self._recorded:
                self.found.append("an original was changed before the record was written")
            elif self._record in self._names:
                self._expect_lasting(self._record, "before an original was changed")

    def _expect_synced(self, top, when):
        for path in self._below(top, "openat") + self._below(top, "mkdirat"):
            if not self._lasts(self._names[path], self._names[path].changed):
                self.found.append("{} was not synced {}".format(path, when))

    def _expect_lasting(self, path, when):
        if not self._lasts(self._names[path], self._names[path].changed):
            self.found.append("{} was not synced {}".format(path, when))
        while path != self._store:
            directory = os.path.dirname(path)
            if not self._lasts(self._names[directory], self._named[path]):
                self.found.append("{} was not synced after {} came into it, {}".format(directory, os.path.basename(path), when))
            path = directory

    def _lasts(self, inode, since):
        return max(inode.synced, self._synced) > since

    def _below(self, top, kind):
        return sorted(path for path, inode in self._names.items() if inode.kind == kind and _inside(path, top))

    def _name(self, path, inode, now):
        self._names[path], self._named[path] = inode, now
        self._change_directory(path, now)

    def _change_directory(self, path, now):
        self._inode(os.path.dirname(path)).changed = now

    def _inode(self, path):
        return self._names.setdefault(path, Inode())


def violations(lines, scene):
    """list of str: what is wrong with the order of a start of a Scene, of which lines (list of str) are the trace."""
    judge = Judge(scene.store, scene.image, scene.paths)
    for call in calls(lines):
        judge.hear(call)
    return judge.finish()


def _inside(path, top):
    return path == top or path.startswith(top + "/")
