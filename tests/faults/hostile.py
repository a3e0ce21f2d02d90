# SPDX-License-Identifier: Apache-2.0
"""Hostile stores, as data: what is planted, at which place, and whether a start refuses it or goes on.

The world outside the store is a tree with names that the code uses, so that what is led there would find its way.
"""

import contextlib
import os
import re
import shutil
import socket
import stat
import subprocess
from typing import Callable, NamedTuple

from module_utils.cm_persist.store.layout import label

from .scene import whole

LOST_ORIGINAL = "{}: the image no longer has it whole"
SECRET = "nobody reads this"
STRANGER = 70001


class Thing(NamedTuple):
    """What can be planted at a place: make takes the place and the outside, and finds nothing at the place."""

    make: Callable
    mount: bool = False


def _mount(*arguments):
    subprocess.run(["mount", *arguments], check=True)


def _bound(place, outside):
    os.mkdir(place, 0o700)
    _mount("--bind", outside + "/directory", place)


def _tmpfs(place, _outside):
    os.mkdir(place, 0o700)
    _mount("-t", "tmpfs", "-o", "mode=0700,size=1m", "none", place)


def _file(place, content="someone's\n"):
    with open(place, "w") as file:
        file.write(content)


def _socket(place, _outside):
    here = os.open(os.path.dirname(place), os.O_RDONLY)  # the path of a socket must be short
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("/proc/self/fd/{}/{}".format(here, os.path.basename(place)))
    os.close(here)


def _directory(place, _outside, owner=0, mode=0o755):
    os.mkdir(place)
    _file(place + "/someone")
    os.chown(place, owner, owner)
    os.chmod(place, mode)


def _huge(place, _outside):
    _file(place, "cm_persist manifest 1\n")
    os.truncate(place, 1 << 40)


def _flagged(place, _outside):
    _directory(place, _outside) if place.endswith(("staging", "manifests")) else _file(place)
    subprocess.run(["chattr", "+i", place], check=True)


def _linked_fixed(place, outside):
    subprocess.run(["chattr", "-i", outside + "/fixed"], check=True)
    os.link(outside + "/fixed", place)
    subprocess.run(["chattr", "+i", outside + "/fixed"], check=True)


def _endless(place, _outside):
    os.mknod(place, stat.S_IFCHR | 0o666, os.makedev(1, 5))  # /dev/zero


THINGS = {
    "link to a directory outside": Thing(lambda place, outside: os.symlink(outside + "/directory", place)),
    "link to a file outside": Thing(lambda place, outside: os.symlink(outside + "/secret", place)),
    "link to the root": Thing(lambda place, _outside: os.symlink("/", place)),
    "dangling link": Thing(lambda place, outside: os.symlink(outside + "/directory/nothing", place)),
    "link to itself": Thing(lambda place, _outside: os.symlink(os.path.basename(place), place)),
    "fifo": Thing(lambda place, _outside: os.mkfifo(place)),
    "device": Thing(_endless),
    "socket": Thing(_socket),
    "bind mount of a directory outside": Thing(_bound, mount=True),
    "tmpfs": Thing(_tmpfs, mount=True),
    "directory": Thing(_directory),
    "directory of another user": Thing(lambda place, outside: _directory(place, outside, STRANGER)),
    "world-writable directory": Thing(lambda place, outside: _directory(place, outside, 0, 0o777)),
    "file": Thing(lambda place, _outside: _file(place)),
    "huge file": Thing(_huge),
    "hard link to a file outside": Thing(lambda place, outside: os.link(outside + "/secret", place)),
    "hard link to an immutable file outside": Thing(_linked_fixed),
    "immutable": Thing(_flagged),
}
ANY, NONE = set(THINGS), set()
UNMOUNTED = {name for name, thing in THINGS.items() if not thing.mount}
DIRECTORIES = {"directory", "directory of another user", "world-writable directory"}
FILES = {"file", "huge file"}
FIXED = {"immutable", "hard link to an immutable file outside"}
LEFT_OVER = (UNMOUNTED,) * 4

# With what a start goes on at each place, by stage; all else it refuses. What is in staging is left over and removed.
STAGES = ("first", "added", "killed", "restart")
PLACES = {
    ".cm_persist": ({"directory"},) * 4,
    ".cm_persist/lock": (FILES | {"hard link to a file outside"},) * 4,  # locked, and never written to
    ".cm_persist/lease": (FILES | FIXED | {"hard link to a file outside"},) * 4,  # as the lock; what is fixed is warned of
    ".cm_persist/record.json": (NONE,) * 4,
    ".cm_persist/.record.json.new": (UNMOUNTED, UNMOUNTED, UNMOUNTED, ANY),
    ".cm_persist/manifests": (DIRECTORIES, DIRECTORIES, UNMOUNTED, UNMOUNTED),
    ".cm_persist/manifests/{label}": (UNMOUNTED - DIRECTORIES - FIXED, ANY, ANY, ANY),
    ".cm_persist/staging": (DIRECTORIES,) * 4,
    ".cm_persist/staging/{label}": LEFT_OVER,
    ".cm_persist/staging/{label}/entry.json": LEFT_OVER,
    ".cm_persist/staging/{label}/tree": LEFT_OVER,
    ".cm_persist/staging/{label}/manifest": LEFT_OVER,
    ".cm_persist/staging/{label}/links": LEFT_OVER,
    "{temporary}": (UNMOUNTED, ANY, ANY, ANY),
    "{first}": (NONE, NONE, DIRECTORIES, NONE),
    "{parent}": (NONE, NONE, DIRECTORIES, NONE),
    "{state_path}": (
        DIRECTORIES | {"bind mount of a directory outside"},
        DIRECTORIES | {"bind mount of a directory outside", "tmpfs"},
        DIRECTORIES | {"bind mount of a directory outside"},
        DIRECTORIES | {"bind mount of a directory outside", "tmpfs"},
    ),
}
DATA = ("{first}", "{parent}", "{state_path}")  # with these, what the store had is gone


def make_outside(top, paths):
    """list of str: the directories outside that are named as the copies of state paths are in staging. Makes it all."""
    labels = [label(path) for path in paths]
    for name in ("", *labels, "staging", "manifests", "tree", "links"):
        os.makedirs(os.path.join(top, "directory", name), exist_ok=True)
        for file in ("lock", "record.json", "manifest", "entry.json", "precious"):
            _file(os.path.join(top, "directory", name, file), SECRET)
    _file(top + "/secret", SECRET)
    _file(top + "/fixed", SECRET)
    subprocess.run(["chattr", "+i", top + "/fixed"], check=True)
    return [os.path.join(top, "directory", name) for name in labels]


def typed(said):
    """bool: whether a start ended with one line: a kind of error, the path, what was found there, and what to do."""
    line = said.rstrip("\n")
    form = re.fullmatch(r"[A-Z][a-z]+Error: (/|process ).*: .+\. [A-Z].*\.", line)
    return bool(form) and line.isprintable() and len(line) < 4000


def secrets_in(store):
    """list of str: files in the store with content from outside; those that are the outside's own inodes are none of it."""
    found = []
    for directory, _names, files in os.walk(store):
        for path in (os.path.join(directory, name) for name in files):
            status = os.lstat(path)
            if stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and status.st_size < 1 << 20:
                with open(path, "rb") as file:
                    found += [path] if SECRET.encode() in file.read() else []
    return found


def originals_kept(scene, path):
    """bool: whether the image still has an original whole, at its path or beside its link."""
    return whole(path + "-initial" if os.path.islink(path) else path) == scene.before[path]


def plant(thing, place, outside):
    """Put a thing at a place, instead of what is there."""
    clear(place, outside)
    os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
    THINGS[thing].make(place, outside)


def unmount(place):
    """Take away what is mounted at a place, if anything is."""
    subprocess.run(["umount", "--quiet", place], stderr=subprocess.DEVNULL, check=False)


def clear(place, outside):
    """Take away what is at a place, as a person would, who heeds the hint. The outside stays as it is."""
    unmount(place)
    fixed = outside + "/fixed"
    is_twin = os.path.lexists(place) and os.path.samestat(os.lstat(place), os.lstat(fixed))
    if not os.path.islink(place):
        subprocess.run(["chattr", "-R", "-f", "-ia", place], check=False)
    if os.path.isdir(place) and not os.path.islink(place):
        shutil.rmtree(place)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(place)
    if is_twin:
        subprocess.run(["chattr", "+i", fixed], check=True)
