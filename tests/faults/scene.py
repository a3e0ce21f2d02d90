# SPDX-License-Identifier: Apache-2.0
"""A small first run to be disturbed: two originals of every kind of entry, a store, and what must be true of them after.

Scratch places are the caller's: every scene has a directory of its own, so that many can be tried side by side.
"""

import json
import os
import shutil
import stat
import struct
import subprocess
import sys

from tests.tree import differences, read_tree

START = os.path.join(os.path.dirname(os.path.abspath(__file__)), "start.py")
PYTHON = os.path.realpath(sys.executable)  # no shim between the fault and its victim
LOST, TORN, ESCAPED, STUCK = "lost", "torn", "escaped", "stuck"


class Scene:
    """image and store (str) are directories below top; paths are the two state paths, in the image.

    Args:
        top (str): a directory of the scene's own, made if it is missing.
        store (str): the store, if it lies elsewhere (a mounted file system).
        overlay (bool): mount the image as an overlayfs, where a directory cannot be renamed.
    """

    NAMES = ("var/lib/pgsql/data", "opt/resources")
    BOOKS = ("record.json", "owners.json", "lock", "lease", "manifests")  # what is right to be in the state directory

    def __init__(self, top, store=None, overlay=False):
        self.top, self.overlay = top, overlay
        self.image, self.store = os.path.join(top, "image"), store or os.path.join(top, "store")
        os.makedirs(self.store, exist_ok=True)
        self.paths = [os.path.join(self.image, name) for name in self.NAMES]
        self.make_image()
        os.makedirs(os.path.join(top, "outside"))
        self.before = {path: whole(path) for path in self.paths}

    def make_image(self):
        """Make the image, where there is none."""
        self.fill()
        if self.overlay:
            os.rename(self.image, os.path.join(self.top, "lower"))
            for name in ("image", "upper", "work"):
                os.mkdir(os.path.join(self.top, name))
            layers = "lowerdir={0}/lower,upperdir={0}/upper,workdir={0}/work".format(self.top)
            subprocess.run(["mount", "-t", "overlay", "overlay", "-o", layers, self.image], check=True)

    def fill(self):
        """Make the originals."""
        fill(*self.paths)

    def stored(self, path):
        """str: a state path's place in the store."""
        return self.store + path

    def start(self, *prefix, **environment):
        """subprocess.CompletedProcess: of one start; prefix (str) are the words before it, as of strace."""
        return subprocess.run(self.command(*prefix), env=self.environment(**environment), **PIPES)

    def command(self, *prefix):
        """list of str: what a start is, as a command."""
        return [*prefix, PYTHON, "-B", START, self.store, *self.paths]

    def environment(self, **more):
        """dict: the environment of a start; more are WORKERS, LOCK_TIMEOUT, LEASE, CM_PERSIST, all str."""
        return dict(os.environ, LC_ALL="C.UTF-8", **more)

    def problems_after_fault(self):
        """list of (kind, str): what is wrong right after a start was disturbed. Nothing or everything is in the store."""
        problems = []
        for path in self.paths:
            stored = self.stored(path)
            visible = os.path.lexists(stored)
            complete = visible and not differences(whole(stored), self.before[path])
            if visible and not complete:
                problems.append((TORN, "{}: {}".format(stored, differences(whole(stored), self.before[path])[:3])))
            if not complete and (os.path.islink(path) or differences(whole(path), self.before[path])):
                problems.append((LOST, "{}: neither the image nor the store has it whole".format(path)))
        return problems

    def problems_after_rerun(self, **environment):
        """list of (kind, str): what is wrong after one more, undisturbed start has run (which this does), and a third."""
        problems = []
        again = self.start(**environment)
        if again.returncode:
            problems.append((STUCK, "the next start failed: {}".format(again.stderr[-500:])))
        for path in self.paths:
            if not os.path.islink(path) or os.readlink(path) != self.stored(path):
                problems.append((STUCK, "{} is not linked".format(path)))
            if not os.path.lexists(self.stored(path)):
                problems.append((LOST, "{} is not in the store".format(path)))
                continue
            found = differences(whole(self.stored(path)), self.before[path])
            if found:
                problems.append((TORN, "{}: {}".format(self.stored(path), found[:3])))
            aside = path + "-initial"
            if os.path.lexists(aside) and differences(whole(aside), self.before[path]):
                problems.append((TORN, "{}: {}".format(aside, differences(whole(aside), self.before[path])[:3])))
        problems += self.leftovers()
        third = self.start(**environment)
        done = json.loads(third.stdout) if not third.returncode else None
        if done is None or done["seed"]["changed"] or done["link"]["changed"]:
            problems.append((STUCK, "the start after that changed or failed: {}{}".format(third.stdout, third.stderr[-500:])))
        return problems

    def remove(self):
        """Take everything away again."""
        if self.overlay:
            subprocess.run(["umount", "--lazy", self.image], check=False)
        subprocess.run(["chattr", "-R", "-ia", self.top], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        shutil.rmtree(self.top)

    def leftovers(self, *beside):
        """list of (kind, str): what no run should leave; beside (str) are more names that are right beside a state path."""
        books = os.path.join(self.store, ".cm_persist")
        found = ["{}/{}".format(books, name) for name in os.listdir(books) if name not in self.BOOKS]
        for path in self.paths:
            name, directory = os.path.basename(path), os.path.dirname(path)
            expected = {name, name + "-initial", *(pattern.format(name) for pattern in beside)}
            found += ["{}/{}".format(directory, other) for other in os.listdir(directory) if other not in expected]
        for directory, names, _files in os.walk(self.store):
            found += [os.path.join(directory, name) for name in names if name.startswith(".cm_persist-")]
        return [(STUCK, "left over: " + name) for name in found]


PIPES = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "errors": "replace"}


def whole(path):
    """dict: a tree as the oracle reads it, without sockets, which nobody copies; {} where nothing is."""
    if not os.path.lexists(path):
        return {}
    return {name: entry for name, entry in read_tree(path).items() if entry.kind != "socket"}


def fill(data, resources):
    """Fill the two originals: small, but with an entry of every kind that takes calls of its own to copy."""
    os.makedirs(os.path.join(data, "base/1"))
    os.makedirs(resources)
    _write(data + "/PG_VERSION", b"9.5\n")
    _write(data + "/base/1/1259", bytes(range(256)) * 300)
    os.link(data + "/PG_VERSION", data + "/base/twin")
    os.symlink("PG_VERSION", data + "/link")
    os.mkfifo(data + "/fifo")
    os.mknod(data + "/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    with open(data + "/base/sparse", "wb") as file:
        file.truncate(1 << 20)
        file.seek(1 << 19)
        file.write(b"in the middle")
    os.setxattr(data + "/base/1/1259", "user.note", b"kept")
    os.mkdir(data + "/empty", 0o1777)
    os.chown(data + "/base/1/1259", 26, 26)
    os.setxattr(data + "/base/1/1259", "security.capability", struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0))
    os.chown(data, 26, 26)
    os.chmod(data, 0o700)
    _write(resources + "/plugin.yaml", b"plugins: {}\n")
    _write(resources + "/fixed", b"nobody changes this\n")
    subprocess.run(["chattr", "+i", resources + "/fixed"], check=True)
    for path in (data, resources):
        os.utime(path, ns=(1_500_000_000_123_456_789, 1_400_000_000_987_654_321))


def _write(path, content):
    with open(path, "wb") as file:
        file.write(content)
