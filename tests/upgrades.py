# SPDX-License-Identifier: Apache-2.0
"""A store that one version of an image seeded and that was written to, and a new container of the next version."""

import contextlib
import json
import os
import shutil
import subprocess

from module_utils.cm_persist.seed.seed import Settings
from module_utils.cm_persist.upgrade import rollback as rolling

from .site import Site, read, write

OLD, NEW = "manager:1.0", "manager:2.0"
# What version 1 ships; version 2 changes what is called "…2", and adds and removes.
FIRST = {
    "same": "as it was", "changed2": "of one", "touched": "of one", "touched2": "of one", "deleted2": "of one",
    "removed2": "of one", "removed-touched2": "of one", "sub/changed2": "of one", "gone/only": "of one",
    "gone-kept/mine": "of one",
}  # fmt: skip
SECOND = {
    "same": "as it was", "changed2": "of two", "touched": "of one", "touched2": "of two", "deleted2": "of two",
    "sub/changed2": "of two", "sub/added2": "of two", "new/deep/added2": "of two", "both2": "of two",
}  # fmt: skip
# What is written between the two.
WRITTEN = {
    "touched": "by a user",
    "touched2": "by a user",
    "removed-touched2": "by a user",
    "both2": "by a user",
    "own/row": "a row",
}
WRITTEN["gone-kept/own"] = "a row"
MERGED = {
    "same": "as it was", "changed2": "of two", "touched": "by a user", "touched2": "by a user",
    "touched2.cm_persist-new": "of two",
    "removed-touched2": "by a user", "sub/changed2": "of two", "sub/added2": "of two", "new/deep/added2": "of two",
    "both2": "by a user", "both2.cm_persist-new": "of two", "own/row": "a row", "gone-kept/own": "a row",
}  # fmt: skip


def ship(site, files, name="data", when=10**9):
    """Make a new container: its image has these files (dict of path to text) at a state path, and nothing else."""
    shutil.rmtree(site.image)
    for path, text in files.items():
        target = os.path.join(site.path(name), path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        write(target, text)
        os.utime(target, (when, when))


def texts(top):
    """dict: path to text of each file in a tree."""
    found = {}
    for directory, _names, files in os.walk(top):
        for name in files:
            path = os.path.join(directory, name)
            found[os.path.relpath(path, top)] = read(path)
    return found


def entry_of(site, name="data"):
    with open(site.books + "/record.json") as file:
        return json.load(file)["paths"][site.path(name)]


@contextlib.contextmanager
def used(directory):
    """A process works in a directory, which it uses thereby."""
    process = subprocess.Popen(["sleep", "60"], cwd=directory, start_new_session=True)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def roll_back(site, check_mode=False, **options):
    return rolling.roll_back(Settings(**site._options(("data",), options)), check_mode)


class Upgraded(Site):
    """A store that version 1 seeded and that was written to, and a new container of version 2."""

    policy = "keep"

    def start_as(self, name=NEW, **options):
        path = {"path": self.path(), "on_image_change": options.pop("policy", self.policy)}
        listed = {"image_manifest": self.list_image()} if name and "image_manifest" not in options else {}
        return self.seed(**dict({"image": name, "paths": [path]}, **dict(listed, **options)))

    def told(self, **options):
        return "\n".join(self.start_as(**options).warnings)


def upgraded(top, number):
    """Upgraded: as the fixture site, in a directory of its own."""
    site = Upgraded(os.path.join(top, str(number)))
    ship(site, FIRST, when=10**9)
    site.start_as(OLD)
    for path, text in WRITTEN.items():
        os.makedirs(os.path.dirname(os.path.join(site.stored(), path)), exist_ok=True)
        write(os.path.join(site.stored(), path), text)
    os.unlink(site.stored() + "/deleted2")
    ship(site, SECOND, when=1500000000)
    return site
