# SPDX-License-Identifier: Apache-2.0
"""State paths over which the store's copy is mounted."""

import os
import shutil

import pytest

from module_utils.cm_persist.errors import LinkError, PathError
from module_utils.cm_persist.host.systemd import Unit
from tests.site import is_mounted, read, run, write
from tests.tree import assert_same, footprint, read_tree

from .test_bad_input import refused

pytestmark = pytest.mark.root  # mounts


@pytest.fixture
def bound(site, mounts):
    """Site: "data" and the file "single" are bound, which is undone at the end, whatever the test did."""
    write(site.path("single"), "file")
    site.seed("data", "single")
    site.originals = read_tree(site.path())
    mounts("--bind", site.image, site.image)  # unmounted lazily, it takes all mounts below it along
    site.outcome = site.link("data", "single", method="bind")
    return site


def test_the_path_shows_the_store(bound):
    write(bound.path("data/row"), "written through the mount")
    assert read(bound.stored("data/row")) == "written through the mount"
    assert is_mounted(bound.path()) and os.path.samefile(bound.path("single"), bound.stored("single"))
    assert [path["state"] for path in bound.outcome.paths] == ["linked", "linked"]
    assert bound.outcome.paths[0]["method"] == "bind"


def test_a_bound_path_is_left_alone(bound):
    before = footprint(bound.store)
    mounted = read("/proc/self/mountinfo")
    outcome = bound.link("data", "single", method="bind")
    assert not outcome.changed and outcome.paths[0]["state"] == "already"
    assert read("/proc/self/mountinfo") == mounted and footprint(bound.store) == before


def test_the_method_may_be_said_for_one_path(site, mounts):
    site.fill("other")
    site.seed("data", "other")
    mounts("--bind", site.image, site.image)
    outcome = site.link(paths=[{"path": site.path(), "method": "bind"}, site.path("other")])
    assert [path["method"] for path in outcome.paths] == ["bind", "symlink"]
    assert is_mounted(site.path()) and os.path.islink(site.path("other"))


def test_the_original_stays_under_the_mount(bound):
    run("umount", bound.path())
    assert read_tree(bound.path()) == bound.originals


def test_a_path_that_the_image_lacks_gets_a_mount_point(site, mounts):
    site.seed()
    shutil.rmtree(site.path())
    mounts("--bind", site.image, site.image)
    site.link(method="bind")
    assert is_mounted(site.path())
    assert_same(site.path(), site.stored())


def test_unlinked_copies_the_newest_back_and_keeps_the_original(bound):
    write(bound.path("data/row"), "newer than the image")
    before = footprint(bound.store)
    outcome = bound.link("data", "single", method="bind", state="unlinked")
    assert not is_mounted(bound.path()) and footprint(bound.store) == before
    assert_same(bound.path(), bound.stored())
    assert read_tree(outcome.paths[0]["aside"]) == bound.originals


def test_unlinked_after_a_reboot_has_taken_the_mount_puts_the_newest_back(bound):
    write(bound.path("data/row"), "newer than the image")
    run("umount", bound.path())
    bound.link(method="bind", state="unlinked")
    assert_same(bound.path(), bound.stored())


def test_a_path_in_use_is_left_mounted(bound):
    with open(bound.path("data/one")):
        refused(bound, lambda: bound.link(method="bind", state="unlinked"), bound.path(), kind=LinkError)
    assert is_mounted(bound.path())


def test_a_change_of_method_is_refused_with_the_way_to_it(bound, site):
    error = refused(bound, bound.link, bound.path(), kind=LinkError)
    assert "restore.yml" in error.hint
    site.fill("other")
    site.start("other")
    error = refused(site, lambda: site.link("other", method="bind"), site.path("other"), kind=LinkError)
    assert "restore.yml" in error.hint


def test_without_the_capability_it_says_so(site, monkeypatch):
    site.seed()
    monkeypatch.setattr("module_utils.cm_persist.fs.syscalls.may_mount", lambda: False)
    error = refused(site, lambda: site.link(method="bind"), site.path(), kind=LinkError)
    assert "SYS_ADMIN" in error.hint and "symlink" in error.hint


def test_a_mount_that_the_kernel_refuses_leaves_no_note(site, monkeypatch):
    def not_permitted(*_arguments):
        raise PermissionError(1, "Operation not permitted", "mount")

    site.seed()
    monkeypatch.setattr("module_utils.cm_persist.fs.syscalls._call", not_permitted)
    with pytest.raises(LinkError) as failure:
        site.link(method="bind")
    assert "SYS_ADMIN" in failure.value.hint and os.listdir(site.image) == ["data"]


def test_without_its_volume_a_path_that_was_bound_is_not_started_on(bound):
    for name in ("data", "single"):
        run("umount", bound.path(name))
    os.rename(bound.store, bound.store + "-unmounted")
    for verb in (bound.seed, bound.link):
        refused(bound, verb, bound.path(), "older", kind=PathError)


@pytest.mark.parametrize("volume", ["empty", "another"])
def test_under_a_lost_mount_another_volume_is_not_begun_with(bound, volume):
    for name in ("data", "single"):
        run("umount", bound.path(name))
    os.rename(bound.store, bound.store + "-elsewhere")
    os.mkdir(bound.store)
    if volume == "another":
        bound.fill("other")
        bound.seed("other")
    error = refused(bound, bound.seed, bound.path(), "older", kind=PathError)
    assert "restore.yml" in error.hint


def test_content_that_may_be_newer_is_not_hidden(site, mounts):
    site.seed()
    write(site.path("data/changed"), "since it was seeded")
    changed = read_tree(site.path())
    mounts("--bind", site.image, site.image)
    outcome = site.link(method="bind")
    assert (outcome.paths[0]["aside"], outcome.paths[0]["diverged"]) == (site.path("data-initial"), True)
    assert site.path("data-initial") in outcome.warnings[0] and read_tree(site.path("data-initial")) == changed
    run("umount", site.path())  # as a restart in place does; what is left there is an empty mount point
    again = site.link(method="bind")
    assert (again.warnings, again.paths[0]["diverged"]) == ([], False)
    assert sorted(name for name in os.listdir(site.image) if not name.startswith(".")) == ["data", "data-initial"]


@pytest.mark.parametrize("choice", ["store", "aside"])
@pytest.mark.parametrize("name", ["data", "single"])
def test_a_mount_point_that_was_made_is_no_original(site, mounts, name, choice):
    """As where the original was set aside before, or the image has none."""
    write(site.path("single"), "file")
    site.seed(name)
    changed = "data/changed" if name == "data" else "single"
    write(site.path(changed), "since it was seeded")
    original = read_tree(site.path(name))
    mounts("--bind", site.image, site.image)
    site.link(name, method="bind")
    site.link(name, method="bind", state="unlinked", restore=choice)
    assert read_tree(site.path(name)) == (original if choice == "aside" else read_tree(site.stored(name)))
    kept = [other for other in os.listdir(site.image) if other.startswith((name + "-", "."))]
    assert kept == ([name + "-initial"] if choice == "store" else [])


def test_an_original_under_the_mount_comes_back_before_what_is_kept_aside(site, mounts):
    original = read_tree(site.path())
    os.mkdir(site.path("data-initial"))
    write(site.path("data-initial/by"), "an earlier tool")
    mounts("--bind", site.image, site.image)
    site.seed()
    site.link(method="bind")
    site.link(method="bind", state="unlinked", restore="aside")
    assert read_tree(site.path()) == original and read(site.path("data-initial/by")) == "an earlier tool"


def test_what_is_mounted_in_the_store_would_be_hidden(site, mounts):
    site.seed()
    mounts("-t", "tmpfs", "none", site.stored("data/sub"))
    refused(site, lambda: site.link(method="bind"), site.path(), site.stored("data/sub"), kind=LinkError)
    assert site.link().paths[0]["state"] == "linked"


def test_a_mount_below_a_bound_path_is_no_reason_to_refuse_it(bound, mounts):
    mounts("-t", "tmpfs", "none", bound.path("data/sub"))
    assert bound.link("data", "single", method="bind").paths[0]["state"] == "already"


def test_a_mount_below_the_path_is_not_taken_for_the_store_s(site, mounts):
    mounts("-t", "tmpfs", "none", site.path("data/sub"))
    with pytest.raises(LinkError, match="mounted at"):
        site.link(method="bind", check_mode=True)


def test_the_mount_is_noted_before_there_is_a_mount_point(site, mounts, monkeypatch):
    site.seed()
    shutil.rmtree(site.path())
    mounts("--bind", site.image, site.image)

    def killed(*_arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("module_utils.cm_persist.link.bind.Bind.execute", killed)
        with pytest.raises(KeyboardInterrupt):
            site.link(method="bind")
    site.link(method="bind", state="unlinked")
    assert_same(site.path(), site.stored())


def test_a_unit_is_made_though_the_directory_above_is_missing(site):
    site.fill("above/data")
    site.seed("above/data")
    shutil.rmtree(site.path("above"))

    class Running:
        def runs(self):
            return True

        def waits_for_network(self, _mount):
            return False

        def observe_mount(self, where, what, network):
            return Unit("unit", where + what, "local-fs.target", False)

    site.systemd = Running()
    outcome = site.link("above/data", method="bind", check_mode=True)
    assert any("by the unit unit" in step for step in outcome.steps)
