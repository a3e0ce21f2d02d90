# SPDX-License-Identifier: Apache-2.0
"""A source and a store on file systems of any two kinds, and what became of the one in the other."""

import os
import warnings

from module_utils.cm_persist.tree import workers as pool
from tests.site import Site
from tests.tree import differences, footprint, read_tree

from .scene import ESCAPED, LOST, TORN
from .specimen import build, refused
from .things import THINGS, UNSTEADY

OPTIONS = {"ext4": ("128M", "-b", "4096")}  # the block size of a volume of any usual size, and of all the others here


def force_workers(monkeypatch, number):
    """Copy with that many processes from the first file on."""
    monkeypatch.setattr(pool, "wanted", lambda *_load: number)


class Places:
    """Mounted file systems for an image and a store; each is made once."""

    def __init__(self, file_system, mounts, top):
        self._file_system, self._mounts, self._top, self._made = file_system, mounts, top, 0

    def make(self, kind):
        """str: the mount point of a fresh file system; an overlay is one whose upper layer is a fresh ext4."""
        if kind == "overlay":
            below = self.make("ext4")
            os.mkdir(below + "/lower")
            return self.overlay(below + "/lower", below)
        return self._file_system(kind, *OPTIONS.get(kind, ()))

    def overlay(self, lower, upper):
        """str: the mount point of an overlay; upper is a directory for its upper layer and its work."""
        self._made += 1
        point = os.path.join(self._top, "overlay%d" % self._made)
        for name in ("upper", "work"):
            os.mkdir(os.path.join(upper, name))
        layers = "lowerdir={0},upperdir={1}/upper,workdir={1}/work".format(lower, upper)
        return self._mounts("-t", "overlay", "overlay", "-o", layers, point)


def site_of(places, kind, source):
    """Site: whose store lies on a fresh file system of a kind; source is the kind of another for its image, or "same".

    The image on "overlay" is yet to be mounted: it is built in the layer below, as an image is in a container.
    """
    top = places.make(kind)
    above = top if source == "same" else places.make("ext4" if source == "overlay" else source)
    return site_at(os.path.join(above, "image"), os.path.join(top, "store"))


def site_at(image, store):
    """Site: of two places that are made."""
    site = Site.__new__(Site)
    site.image, site.store = image, store
    os.makedirs(image)
    os.makedirs(store)
    return site


def whole(path):
    """dict: a tree as the oracle reads it, with access times; without sockets, and without what is told now so, now so."""
    tree = {name: entry for name, entry in read_tree(path, atime=True).items() if entry.kind != "socket"}
    for name in UNSTEADY & set(tree):
        tree[name] = tree[name]._replace(holes=())
    return tree


def seed_and_compare(site, before):
    """Seed, and compare both sides with what the source was.

    Returns:
        tuple: the Outcome of the seed, and what is wrong: a list of (kind, str).
    """
    outside = os.path.join(site.image, "outside")
    os.makedirs(outside, exist_ok=True)
    around = footprint(outside)
    outcome = site.seed(method="bind")  # with it, links that lead out of the tree are copied like all else
    problems = _problems(before, site.stored()) + _problems(before, site.path())
    if footprint(outside) != around or os.listdir(os.path.dirname(site.stored())) != ["data"]:
        problems.append((ESCAPED, "something was written beside the tree"))
    return outcome, problems


def link_and_compare(site, before):
    """list of (kind, str): what is wrong with the store after the link is made."""
    site.link()
    assert os.readlink(site.path()) == site.stored()
    return _problems(before, site.stored())


def _problems(before, path):
    found = differences(before, whole(path))
    return [(LOST if text.endswith("only in the first") else TORN, "{}: {}".format(path, text)) for text in found]


def as_text(problems):
    """str: one line for each, for an assertion's message."""
    return "\n".join("{}: {}".format(*each) for each in problems)


def build_for(site, source):
    """Build all that the file systems of both sides can hold; what they cannot is told by a warning.

    Returns:
        Specimen: in the image, which is mounted if it is an overlay.
    """
    missing = refused(os.path.join(site.store, "trial"))
    if source == "overlay":
        missing["a device 0, 0"] = "overlayfs takes it for something that was deleted"
    specimen = build(site.path(), without=missing)
    missing = {**specimen.left_out, **missing}
    assert len(missing) < len(THINGS) // 5
    told = "; ".join("{} ({})".format(*each) for each in missing.items())
    warnings.warn("{} things are left out: {}".format(len(missing), told), stacklevel=2)
