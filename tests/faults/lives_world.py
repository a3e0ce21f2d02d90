# SPDX-License-Identifier: Apache-2.0
"""The world of a life: the versions of an image, a container of one of them, and the volumes that it may be given.

Every text that an image or an application writes is written once only, so that to find a version of a file is to find its text.
"""

import os
import shutil
from typing import NamedTuple, Tuple

from module_utils.cm_persist.fs import syscalls
from module_utils.cm_persist.fs.accounts import Accounts
from module_utils.cm_persist.host.machine import Machine
from module_utils.cm_persist.host.mounts import read_mounts
from module_utils.cm_persist.host.systemd import Systemd
from module_utils.cm_persist.link import link as linking
from module_utils.cm_persist.seed import seed as seeding
from module_utils.cm_persist.seed import unseed as unseeding
from module_utils.cm_persist.upgrade import rollback as rolling
from tests.site import Site, is_mounted, list_image, read, run, write

# State paths, and what images may have there; "." is the path itself, which then is a file.
NAMES = {"data": ("one", "sub/two", "sub/three"), "etc/more": ("one", "deep/two"), "etc/single": (".",)}
MNT_DETACH, MS_PRIVATE = 2, 1 << 18


class Image(NamedTuple):
    """One version of the image: its number, its files (state path to {path in it: text}), its owners' numbers, and whether it
    has a name and a list."""

    number: int
    files: dict
    accounts: Accounts
    named: bool
    listed: bool


class Setup(NamedTuple):
    """What a life begins with: its images, whether their root is an overlayfs, the state paths that are mounted over, and those
    that an earlier tool has put on the volume."""

    images: Tuple[Image, ...]
    overlay: bool = False
    bound: Tuple[str, ...] = ()
    stored: Tuple[str, ...] = ()


class Options(NamedTuple):
    """How starts are asked for: which state paths, with which policy for each, how many backups, and whether back as well."""

    names: Tuple[str, ...] = tuple(NAMES)
    policies: Tuple[str, ...] = ("merge",) * len(NAMES)
    backups: int = 1
    downgrade: bool = True


class World(Site):
    """A Site whose image directory is the root of the container.

    volume is the number of what is mounted as its store, None for nothing; others wait in the directory volumes. beneath is where
    the container is seen without what is mounted in it.
    """

    def __init__(self, top, setup):
        super().__init__(top)
        self.beneath = os.path.join(top, "beneath")
        self.setup, self.volume, self.options, self.image_now = setup, 0, Options(), None
        self._systemd = Systemd(units=os.path.join(top, "units"), running=os.path.join(top, "none"))
        self.new_container(0)
        for name in setup.stored:
            os.makedirs(os.path.dirname(self.stored(name)), exist_ok=True)
            run("cp", "-a", self.path(name), self.stored(name))

    def new_container(self, number=None):
        """A container that is new, of the image with that number, by default of the same as before."""
        self.remove_mounts()
        self._table = None
        self.image_now = self.image_now if number is None else self.setup.images[number]
        shutil.rmtree(self.image)
        os.mkdir(self.image)
        if self.setup.overlay:
            self._mount_layers()
        else:
            build(self.image, self.image_now)
            if self.setup.bound:  # unmounted, it takes all mounts below it along
                syscalls.bind_mount(os.fsencode(self.image), os.fsencode(self.image))
        if self.setup.bound:
            syscalls._call("mount", None, os.fsencode(self.image), None, MS_PRIVATE, None)
            os.makedirs(self.beneath, exist_ok=True)
            syscalls.bind_mount(os.fsencode(self.image), os.fsencode(self.beneath))
        listed = self._list_of(self.image_now)
        if self.image_now.listed and not os.path.exists(listed):
            list_image(self.image, listed)

    def remove_mounts(self):
        """What the end of a container does to its mounts: none of them is left."""
        for path in (self.beneath, self.image) if self.setup.overlay or self.setup.bound else ():
            while is_mounted(path):
                syscalls._call("umount2", os.fsencode(path), MNT_DETACH)

    def reboot(self):
        """Start the container again, without its mounts in it."""
        for name in self.setup.bound:
            while is_mounted(self.path(name)):
                syscalls.unmount(os.fsencode(self.path(name)))

    def mount_volume(self, number):
        """Put another volume in the place of the present one; a new one where the number is new; None for none."""
        self.reboot()
        if self.volume is not None:
            os.rename(self.store, self.waiting(self.volume))
        if number is not None:
            os.makedirs(self.waiting(number), exist_ok=True)
            os.rename(self.waiting(number), self.store)
        self.volume = number

    def waiting(self, number):
        """str: where a volume is that is not mounted."""
        directory = os.path.join(self.top, "volumes", str(number))
        os.makedirs(os.path.dirname(directory), exist_ok=True)
        return directory

    def save_volume(self):
        """Keep a copy of the volume as it is now."""
        shutil.rmtree(self.top + "/saved", ignore_errors=True)
        run("cp", "-a", self.store, self.top + "/saved")

    def put_back_volume(self):
        """Put the copy that was kept in the place of the volume."""
        self.reboot()
        shutil.rmtree(self.store)
        run("cp", "-a", self.top + "/saved", self.store)

    def empty_volume(self):
        """Remove all that the volume has."""
        self.reboot()
        shutil.rmtree(self.store)
        os.mkdir(self.store)

    def acts(self, what):
        """list of callable: what cm_persist does at a start, or to go back."""
        word, _blank, how = what.partition(" ")
        if word == "restore":
            return [lambda: linking.link(self._link_settings(state="unlinked", restore=how), machine=self._machine())]
        seeding_act = {"roll": rolling.roll_back, "unseed": unseeding.unseed}.get(word, seeding.seed)
        acts = [lambda: seeding_act(self._settings(), machine=self._machine())]
        if seeding_act is seeding.seed:
            acts.append(lambda: linking.link(self._link_settings(), machine=self._machine()))
        return acts

    def leads_into_store(self, name):
        """bool: whether a state path is a link into the store, or the store's copy is mounted over it."""
        path, stored = self.path(name), self.stored(name)
        if os.path.islink(path):
            return os.readlink(path) == stored
        return os.path.exists(path) and os.path.exists(stored) and os.path.samefile(path, stored)

    def shows(self, name):
        """dict: what is to be read at a state path, None where nothing is."""
        path = self.path(name)
        return texts(path) if os.path.exists(path) else None

    def stores(self, name):
        """dict: the same in the store."""
        return texts(self.stored(name)) if os.path.exists(self.stored(name)) else None

    def owner(self, name, relative):
        """int: the number of the owner of a file at a state path."""
        return os.stat(os.path.normpath(os.path.join(self.path(name), relative))).st_uid

    def places(self):
        """dict: every text of the container and of the volumes, to where it is."""
        found = {}
        for top in (self.image, self.store, self.top + "/volumes", self.beneath):
            for directory, _names, files in os.walk(top):
                for name in files:
                    path = os.path.join(directory, name)
                    if os.path.isfile(path) and os.path.getsize(path) < 100:
                        found.setdefault(read(path), []).append(path)
        return found

    def remove(self):
        """Take everything away."""
        self.reboot()
        self.remove_mounts()
        shutil.rmtree(self.top)

    def _mount_layers(self):
        lower = os.path.join(self.top, "lower{}".format(self.image_now.number))
        if not os.path.exists(lower):
            os.mkdir(lower)
            build(lower, self.image_now)
        for name in ("upper", "work"):
            shutil.rmtree(os.path.join(self.top, name), ignore_errors=True)
            os.mkdir(os.path.join(self.top, name))
        layers = "lowerdir={1},upperdir={0}/upper,workdir={0}/work".format(self.top, lower)
        syscalls._call("mount", b"overlay", os.fsencode(self.image), b"overlay", 0, layers.encode())

    def _machine(self):
        # The mount table is long on a machine that others use, and it changes only where acts mount.
        if self._table is None and not self.setup.bound:
            self._table = read_mounts()
        return Machine(self._systemd, names=self.image_now.accounts, table=self._table)

    def _list_of(self, image):
        return os.path.join(self.top, "list{}".format(image.number))

    def _settings(self):
        image, options = self.image_now, self.options
        named = {name: policy for name, policy in zip(NAMES, options.policies) if name in options.names}
        return seeding.Settings(
            self.store,
            [dict(self._entry(name), on_image_change=policy) for name, policy in named.items()],
            require_mount=False,
            missing="skip",
            lease=False,
            lock_timeout=1,
            image="manager:{}".format(image.number) if image.named else "",
            image_manifest=self._list_of(image) if image.listed else self.top + "/none",
            backups=options.backups,
            allow_downgrade=options.downgrade,
        )

    def _link_settings(self, **more):
        settings = self._settings()
        entries = [self._entry(name) for name in NAMES if name in self.options.names]
        return linking.Settings(self.store, entries, False, image_manifest=settings.image_manifest, **more)

    def _entry(self, name):
        return {"path": self.path(name), "method": "bind" if name in self.setup.bound else "symlink"}


def build(root, image):
    """Make the files of an image below a directory; what it has from an older version keeps its time."""
    for name, files in image.files.items():
        for relative, text in files.items():
            path = os.path.normpath(os.path.join(root, name, relative))
            os.makedirs(os.path.dirname(path), exist_ok=True)
            write(path, text)
            number = image.accounts.users["app"]
            os.chown(path, number, number)
            os.utime(path, (10**9 + int(text.split()[1]),) * 2)
    for directory, _names, _files in os.walk(root, topdown=False):
        os.utime(directory, (10**9, 10**9))


def texts(top):
    """dict: path to text of each file of a tree, "." for a tree that is a file."""
    if os.path.isfile(top):
        return {".": read(top)}
    found = {}
    for directory, _names, names in os.walk(top):
        for name in names:
            path = os.path.join(directory, name)
            found[path[len(top) + 1 :]] = read(path)
    return found
