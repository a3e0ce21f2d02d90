# SPDX-License-Identifier: Apache-2.0
"""A scratch machine for one test: a tree that plays the image, and a directory that plays the mounted volume."""

import os
import socket
import subprocess

from module_utils.cm_persist.host.machine import Machine
from module_utils.cm_persist.host.systemd import Systemd
from module_utils.cm_persist.link import link as linking
from module_utils.cm_persist.seed import seed as seeding
from module_utils.cm_persist.tree.manifest import ManifestWriter
from module_utils.cm_persist.tree.walk import walk

from .tree import footprint


class Site:
    """image and store are directories (str); state paths are given by their names below the image.

    The store is an ordinary directory, so a mount of its own is asked for only by tests that make one.
    """

    systemd = None  # the machine's own

    def __init__(self, top):
        self.top, self.image, self.store = top, os.path.join(top, "image"), os.path.join(top, "store")
        os.makedirs(self.image)
        os.makedirs(self.store)

    def path(self, name="data"):
        """str: a state path."""
        return os.path.join(self.image, name)

    def stored(self, name="data"):
        """str: its place in the store."""
        return self.store + self.path(name)

    @property
    def books(self):
        """str: the state directory in the store."""
        return os.path.join(self.store, ".cm_persist")

    def fill(self, name="data"):
        """str: a small original: a directory with a file, a subdirectory and a link."""
        top = self.path(name)
        os.makedirs(os.path.join(top, "sub"))
        write(os.path.join(top, "one"), "first")
        write(os.path.join(top, "sub", "two"), "second")
        os.symlink("sub/two", os.path.join(top, "link"))
        return top

    def seed(self, *names, check_mode=False, accounts=None, **options):
        """Outcome: of seeding these state paths, "data" if none is given; without a lease, unless the test is of that."""
        options.setdefault("lease", False)
        return seeding.seed(seeding.Settings(**self._options(names, options)), check_mode, Machine(names=accounts))

    def link(self, *names, check_mode=False, **options):
        """Outcome: of linking them."""
        return linking.link(
            linking.Settings(**self._options(names, options)), check_mode, Machine(systemd=self.systemd or Systemd())
        )

    def start(self, *names, **options):
        """tuple: the Outcomes of what a container start does, seed and link."""
        return self.seed(*names, **dict(options)), self.link(*names, **options)

    def list_image(self):
        """str: the file that lists what the image holds now, as its build would have written it."""
        path = os.path.join(self.top, "image.manifest")
        list_image(self.image, path)
        return path

    def untouched(self):
        """dict: the footprint of both sides, to be equal before and after."""
        return footprint(self.image, self.store)

    def _options(self, names, options):
        wanted = {"store": self.store, "paths": [self.path(name) for name in names or ("data",)], "require_mount": False}
        return dict(wanted, **options)


def list_image(image, path):
    """Write the manifest of an image (a directory) into a file, as container/image_manifest.py does of a root directory."""
    directory = os.open(image, os.O_RDONLY)
    with open(path, "wb") as file:
        manifest = ManifestWriter(file)
        for visit in walk(directory, b"."):
            manifest.add(visit, os.path.normpath(os.path.join(os.fsencode(image[1:]), visit.path)))
        manifest.finish()
    os.close(directory)


def write(path, text):
    """Write a small file."""
    with open(path, "w") as file:
        file.write(text)


def read(path):
    """str: a small file's text."""
    with open(path) as file:
        return file.read()


def run(*command, **options):
    """str: the output of a command that must succeed."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    assert done.returncode == 0, "{}: {}".format(" ".join(command), done.stdout)
    return done.stdout


def listen(path):
    """socket: of a program that answers at a path, as systemd does while it runs."""
    answers = socket.socket(socket.AF_UNIX)
    answers.bind(path)
    answers.listen(1)
    return answers


def is_mounted(path):
    """bool: whether something is mounted exactly there; os.path.ismount() does not see a bind within a file system."""
    return any(line.split(" ")[4] == path for line in read("/proc/self/mountinfo").splitlines())


def as_nobody(call):
    """str: the error that a call ends with in a child process without privileges, as 'TYPE: TEXT'; '' where it succeeds."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        said = ""
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            call()
        except BaseException as error:
            said = "{}: {}".format(type(error).__name__, error)
        os.write(writer, said.encode())
        os._exit(0)
    os.close(writer)
    with open(reader) as answer:
        said = answer.read()
    os.waitpid(child, 0)
    return said
