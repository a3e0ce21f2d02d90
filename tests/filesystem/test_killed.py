# SPDX-License-Identifier: Apache-2.0
"""Killed before each single change that it makes, a run leaves what the next one completes."""

import os
import shutil
import subprocess
from types import SimpleNamespace

import pytest

from module_utils.cm_persist.errors import LinkError
from module_utils.cm_persist.host.systemd import Systemd
from module_utils.cm_persist.store.layout import label
from tests.kill import killed_before_change
from tests.site import Site, is_mounted, read, write
from tests.tree import Entry, assert_same, differences, read_tree

from .test_overlay import container

MOST = 400  # changes that no act of these tests has


def everywhere(make, act, check):
    """Kill an act before each of its changes, each time at a new site, and check what comes after.

    Args:
        make (callable): takes a number, gives a new Site.
        act (callable): takes the site.
        check (callable): takes the site, after the kill.
    """
    for number in range(MOST):
        site = make(number)
        killed = killed_before_change(number, lambda site=site: act(site))
        try:
            check(site)
        except BaseException as error:
            raise AssertionError("after a kill before change {}".format(number)) from error
        if not killed:
            assert number > 3, "the kills did not work"
            return
    raise AssertionError("the act does not end")


@pytest.fixture
def plain(top):
    def make(number):
        site = Site(os.path.join(top, str(number)))
        site.fill()
        return site

    return make


@pytest.fixture
def overlaid(plain, mounts):
    def make(number):
        site = plain(number)
        os.rename(site.image, os.path.join(site.top, "lower"))
        container(site, mounts)
        return site

    return make


def seeded(make):
    def made(number):
        site = make(number)
        site.seed()
        return site

    return made


def linked_and_used(make):
    def made(number):
        site = make(number)
        site.start()
        write(site.path("data/row"), "newer than the image")
        return site

    return made


def completed(site, original):
    """Check that a further start completes, that nothing is lost or left over, and that the one after changes nothing."""
    site.start()
    assert os.readlink(site.path()) == site.stored()
    assert same(site.stored(), original) and not os.path.exists(site.books + "/staging/" + label(site.path()))
    assert [name for name in os.listdir(site.image) if name.startswith(".")] == []
    before = site.untouched()
    again = site.start()
    assert [outcome.changed for outcome in again] == [False, False] and site.untouched() == before


def same(path, tree):
    return differences(read_tree(path), tree) == []


def test_seed(plain):
    def check(site):
        if os.path.lexists(site.stored()):
            assert_same(site.path(), site.stored())
        completed(site, read_tree(site.path()))

    everywhere(plain, Site.seed, check)


def test_seed_that_was_published_is_not_copied_again(plain):
    def check(site):
        published = os.path.lexists(site.stored()) and os.stat(site.stored()).st_ino
        site.seed()
        assert not published or os.stat(site.stored()).st_ino == published

    everywhere(plain, Site.seed, check)


def test_seed_of_a_second_path_leaves_the_first_alone(plain):
    def make(number):
        site = seeded(plain)(number)
        site.fill("later")
        return site

    def check(site):
        assert site.seed().paths[0]["state"] == "already"
        site.seed("data", "later")
        assert_same(site.path("later"), site.stored("later"))

    everywhere(make, lambda site: site.seed("data", "later"), check)


def test_seed_over_an_empty_directory(plain):
    def make(number):
        site = plain(number)
        os.makedirs(site.stored())
        return site

    everywhere(make, Site.seed, lambda site: completed(site, read_tree(site.path())))


def test_adoption(plain):
    def make(number):
        site = plain(number)
        shutil.copytree(site.path(), site.stored(), symlinks=True)
        return site

    def check(site):
        site.start()
        assert sorted(os.listdir(site.stored())) == ["link", "one", "sub"] and os.path.islink(site.path())

    everywhere(make, Site.seed, check)


@pytest.mark.parametrize("rename", ["possible", pytest.param("refused", marks=pytest.mark.root)])
def test_link(rename, plain, request):
    make = plain if rename == "possible" else request.getfixturevalue("overlaid")
    everywhere(seeded(make), Site.link, lambda site: completed(site, read_tree(site.stored())))


@pytest.mark.root
def test_link_of_an_original_that_is_copied_aside(overlaid):
    def make(number):
        site = seeded(overlaid)(number)
        write(site.path("data/changed"), "since it was seeded")
        site.expected = read_tree(site.path())
        return site

    def check(site):
        completed(site, read_tree(site.stored()))
        asides = [name for name in os.listdir(site.image) if name != "data"]
        assert asides == ["data-initial"], "one original is kept once"
        assert same(site.path("data-initial"), site.expected)

    everywhere(make, Site.link, check)


@pytest.mark.root
@pytest.mark.parametrize("meanwhile", ["the name is taken", "what is kept is moved away"])
def test_link_of_an_original_that_is_copied_aside_to_a_place_that_changes(overlaid, meanwhile):
    def make(number):
        site = seeded(overlaid)(number)
        write(site.path("data/changed"), "since it was seeded")
        return site

    def check(site):
        initial = site.path("data-initial")
        if meanwhile == "the name is taken" and not os.path.lexists(initial):
            os.mkdir(initial)
            write(initial + "/changed", "someone's")
        elif meanwhile != "the name is taken" and os.path.lexists(initial):
            os.rename(initial, site.path("moved"))
        completed(site, read_tree(site.stored()))
        kept = [os.path.join(site.image, name, "changed") for name in os.listdir(site.image) if name != "data"]
        assert "since it was seeded" in [read(path) for path in kept if os.path.exists(path)]

    everywhere(make, Site.link, check)


@pytest.mark.root
def test_what_was_put_there_during_a_removal_is_kept(overlaid):
    def check(site):
        if os.path.isdir(site.path()) and not os.path.islink(site.path()):
            write(site.path("data/newer"), "put there since")
            site.link()
            kept = [name for name in os.listdir(site.image) if name.startswith("data-initial")]
            assert [read(site.path(name + "/newer")) for name in kept] == ["put there since"]
        completed(site, read_tree(site.stored()))

    everywhere(seeded(overlaid), Site.link, check)


def test_unlink(plain):
    def check(site):
        stored = read_tree(site.stored())
        site.link(state="unlinked")
        assert same(site.path(), stored) and same(site.stored(), stored)
        assert sorted(os.listdir(site.image)) == ["data", "data-initial"]

    everywhere(linked_and_used(plain), lambda site: site.link(state="unlinked"), check)


def test_unlink_and_then_linked_again(plain):
    everywhere(
        linked_and_used(plain),
        lambda site: site.link(state="unlinked"),
        lambda site: completed(site, read_tree(site.stored())),
    )


@pytest.mark.root
def test_unlink_of_a_bind_mount(plain):
    def make(number):
        site = seeded(plain)(number)
        site.link(method="bind")
        write(site.path("data/row"), "newer than the image")
        return site

    def check(site):
        stored = read_tree(site.stored())
        outcome = site.link(state="unlinked", method="bind")
        assert not is_mounted(site.path())
        assert same(site.path(), stored), "{} was reported, but the path has old content".format(outcome.paths)

    everywhere(make, lambda site: site.link(state="unlinked", method="bind"), check)


class MountingSystemd(Systemd):
    """A stand-in: units are files as systemd has them, and starting one mounts what its file says. No systemd runs here; a real
    one mounts in the molecule scenario machine."""

    def __init__(self, top):
        self.units = os.path.join(top, "units")
        os.mkdir(self.units)
        super().__init__(self.units, call=self.act)

    def runs(self):
        return True

    def act(self, command, **_options):
        verb, name = command[1], command[-1]
        if command[0] == "systemd-escape":
            return SimpleNamespace(returncode=0, stdout="data.mount\n", stderr="")
        link = os.path.join(self.units, "local-fs.target.requires", name)
        if verb == "reenable" and not os.path.lexists(link):
            os.makedirs(os.path.dirname(link), exist_ok=True)
            os.symlink("../" + name, link)
        elif verb == "disable" and os.path.lexists(link):
            os.unlink(link)
        elif verb == "start":
            self.start(name)
        return SimpleNamespace(returncode=0, stdout="", stderr="")

    def start(self, name):
        unit = dict(line.split("=", 1) for line in read(os.path.join(self.units, name)).splitlines() if "=" in line)
        if not is_mounted(unit["Where"]):
            subprocess.run(["mount", "--bind", unit["What"], unit["Where"]], check=True)

    def boot(self):
        """What a boot makes of what a killed run left."""
        requires = os.path.join(self.units, "local-fs.target.requires")
        for name in os.listdir(requires) if os.path.isdir(requires) else ():
            if os.path.exists(os.path.join(self.units, name)):
                self.start(name)


@pytest.fixture
def with_systemd(plain, mounts):
    def make(number):
        site = seeded(plain)(number)
        mounts("--bind", site.image, site.image)  # unmounted lazily, it takes what is mounted below along
        site.systemd = MountingSystemd(site.top)
        return site

    return make


@pytest.mark.root
@pytest.mark.parametrize("rebooted", [False, True])
def test_a_mount_by_a_unit(with_systemd, rebooted):
    def check(site):
        if rebooted:
            while is_mounted(site.path()):
                subprocess.run(["umount", site.path()], check=True)
            site.systemd.boot()
        site.link(method="bind")
        assert is_mounted(site.path()) and os.path.samefile(site.path(), site.stored())
        again = site.link(method="bind")
        assert (again.changed, again.paths[0]["state"]) == (False, "already")
        assert os.listdir(site.systemd.units + "/local-fs.target.requires") == ["data.mount"]

    everywhere(with_systemd, lambda site: site.link(method="bind"), check)


@pytest.mark.root
def test_a_unit_that_cannot_be_enabled_is_gone_on_with(with_systemd):
    site = with_systemd(0)
    act = site.systemd.act
    site.systemd._call = lambda command, **_: SimpleNamespace(
        returncode=command[1] == "reenable", stdout=act(command).stdout, stderr=""
    )
    shutil.rmtree(site.systemd.units + "/local-fs.target.requires", ignore_errors=True)
    with pytest.raises(LinkError, match="reenable"):
        site.link(method="bind")
    shutil.rmtree(site.systemd.units + "/local-fs.target.requires")
    site.systemd._call = act
    assert is_mounted(site.path()) and site.link(method="bind").changed
    assert os.listdir(site.systemd.units + "/local-fs.target.requires") == ["data.mount"]


@pytest.mark.root
@pytest.mark.parametrize("choice", ["store", "aside"])
@pytest.mark.parametrize("rebooted", [False, True])
def test_off_a_mount_by_a_unit(with_systemd, rebooted, choice):
    """No boot may show, at any moment, anything else than the store or nothing, until the path has what was asked for."""

    def make(number):
        site = with_systemd(number)
        site.original = read_tree(site.path())
        site.link(method="bind")
        write(site.path("data/row"), "newer than the image")
        return site

    def restore(site):
        return site.link(state="unlinked", restore=choice, method="bind")

    def check(site):
        wanted = read_tree(site.stored()) if choice == "store" else site.original
        if rebooted:
            while is_mounted(site.path()):
                subprocess.run(["umount", site.path()], check=True)
            if os.path.isdir(site.path()):
                site.systemd.boot()
        restore(site)
        assert not is_mounted(site.path()) and same(site.path(), wanted)
        assert os.listdir(site.systemd.units + "/local-fs.target.requires") == []
        assert [name for name in os.listdir(site.image) if name.startswith(".")] == []
        assert not restore(site).changed
        site.systemd.boot()
        assert same(site.path(), wanted)

    everywhere(make, restore, check)


def test_unlink_with_the_original(plain):
    def make(number):
        site = linked_and_used(plain)(number)
        site.original = read_tree(site.path("data-initial"))
        return site

    def check(site):
        site.link(state="unlinked", restore="aside")
        assert same(site.path(), site.original) and os.listdir(site.image) == ["data"]

    everywhere(make, lambda site: site.link(state="unlinked", restore="aside"), check)


def test_unlink_with_the_original_and_then_linked_again(plain):
    everywhere(
        linked_and_used(plain),
        lambda site: site.link(state="unlinked", restore="aside"),
        lambda site: completed(site, read_tree(site.stored())),
    )


@pytest.mark.root
def test_link_of_an_original_that_the_image_lists(overlaid):
    def make(number):
        site = overlaid(number)
        shutil.copytree(site.path(), site.stored(), symlinks=True)
        site.manifest = site.list_image()
        site.seed()
        return site

    def link(site):
        return site.link(image_manifest=site.manifest)

    def check(site):
        stored = read_tree(site.stored())
        assert link(site).paths[0]["state"] in ("linked", "already")
        assert os.listdir(site.image) == ["data"] and os.readlink(site.path()) == site.stored()
        assert same(site.stored(), stored) and not link(site).changed

    everywhere(make, link, check)


def test_the_comparison_itself_sees_a_difference(plain):
    site = plain(0)
    tree = read_tree(site.path())
    write(site.path("data/one"), "other")
    assert not same(site.path(), tree) and isinstance(tree[b"one"], Entry)
