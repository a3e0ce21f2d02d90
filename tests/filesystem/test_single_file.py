# SPDX-License-Identifier: Apache-2.0
"""State paths that are single files: a program's configuration, the manager's encryption key."""

import os

import pytest

from tests.site import Site, read, write
from tests.tree import assert_same, read_tree

from .test_overlay import container

CONFIG = "etc/cloudify/config.yaml"


@pytest.fixture(params=["plain", pytest.param("overlay", marks=pytest.mark.root)])
def site(request, top, mounts):
    """Site: with a private file in a private directory, in an image of either kind."""
    made = Site(top)
    made.fill()  # a directory, by which container() knows that it is a real overlay
    os.makedirs(os.path.dirname(made.path(CONFIG)), 0o750)
    write(made.path(CONFIG), "manager: {}")
    os.chmod(made.path(CONFIG), 0o640)
    if request.param == "overlay":
        os.rename(made.image, os.path.join(top, "lower"))
        container(made, mounts)
    return made


def rewrite(path, text):
    """As careful programs write: into a file next to it, then renamed over the name, which a link does not outlive."""
    write(path + ".tmp", text)
    os.rename(path + ".tmp", path)


def names_next_to_it(site):
    return sorted(os.listdir(os.path.dirname(site.path(CONFIG))))


def test_it_is_seeded_and_linked(site):
    original = read_tree(site.path(CONFIG))
    seeded, linked = site.start(CONFIG)
    assert (seeded.paths[0]["files"], linked.paths[0]["state"]) == (1, "linked")
    assert os.readlink(site.path(CONFIG)) == site.stored(CONFIG) and read_tree(site.stored(CONFIG)) == original
    assert os.stat(os.path.dirname(site.stored(CONFIG))).st_mode & 0o777 == 0o750
    assert [outcome.changed for outcome in site.start(CONFIG)] == [False, False]


def test_its_original_is_kept_or_left_to_the_image(site):
    site.seed(CONFIG)
    linked = site.link(CONFIG, image_manifest=site.list_image())
    overlay = os.path.exists(os.path.join(site.top, "lower"))
    assert linked.paths[0]["original"] == ("discarded" if overlay else "kept")
    assert names_next_to_it(site) == (["config.yaml"] if overlay else ["config.yaml", "config.yaml-initial"])


@pytest.mark.parametrize("known", [False, True], ids=["no list of the image", "the image is listed"])
def test_a_program_that_wrote_anew_over_the_link(site, known):
    manifest = site.list_image() if known else "/nowhere"
    site.seed(CONFIG)
    site.link(CONFIG, image_manifest=manifest)
    for number in range(3):
        rewrite(site.path(CONFIG), "written by the program, {}".format(number))
        linked = site.link(CONFIG, image_manifest=manifest)
        assert linked.paths[0]["diverged"] and linked.paths[0]["original"] == "kept"
        assert read(linked.paths[0]["aside"]) == "written by the program, {}".format(number)
        assert linked.paths[0]["aside"] in linked.warnings[0] and read(site.path(CONFIG)) == "manager: {}"


@pytest.mark.parametrize("choice", ["store", "aside"])
def test_it_is_taken_off_the_store(site, choice):
    original = read_tree(site.path(CONFIG))
    site.start(CONFIG)
    with open(site.path(CONFIG), "a") as file:
        file.write("\nchanged: through the link")
    site.link(CONFIG, state="unlinked", restore=choice)
    if choice == "store":
        assert_same(site.path(CONFIG), site.stored(CONFIG))
    else:
        assert read_tree(site.path(CONFIG)) == original
    assert not os.path.islink(site.path(CONFIG))


@pytest.mark.root
def test_it_can_be_mounted_over(site, mounts):
    directory = os.path.dirname(site.path(CONFIG))
    mounts("--bind", directory, directory)  # unmounted lazily, it takes the mount below along
    site.seed(CONFIG)
    assert site.link(CONFIG, method="bind").paths[0]["state"] == "linked"
    with open(site.path(CONFIG), "a") as file:
        file.write("\nchanged: through the mount")
    assert "through the mount" in read(site.stored(CONFIG))
    assert site.link(CONFIG, method="bind").paths[0]["state"] == "already"
    site.link(CONFIG, method="bind", state="unlinked")
    assert_same(site.path(CONFIG), site.stored(CONFIG))
