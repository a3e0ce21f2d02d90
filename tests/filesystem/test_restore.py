# SPDX-License-Identifier: Apache-2.0
"""Off the store again: with what it has, or with the original that was kept aside."""

import os
import shutil

import pytest

from module_utils.cm_persist.errors import LinkError, PathError
from tests.site import is_mounted, read, run, write
from tests.tree import assert_same, footprint, read_tree

from .test_bad_input import refused


@pytest.fixture
def used(site):
    """Site: linked, and written to since."""
    site.original = read_tree(site.path())
    site.start()
    write(site.path("data/row"), "newer than the image")
    return site


def restore(site, *names, **options):
    return site.link(*names, **dict({"state": "unlinked"}, **options))


def test_the_original_that_was_kept_comes_back(used):
    stored = footprint(used.store)
    outcome = restore(used, restore="aside")
    assert (outcome.paths[0]["state"], outcome.paths[0]["original"]) == ("unlinked", "none")
    assert read_tree(used.path()) == used.original and os.listdir(used.image) == ["data"]
    assert footprint(used.store) == stored


def test_the_newest_is_what_the_store_has_once_it_was_written_to(used):
    restore(used, restore="newest")
    assert read(used.path("data/row")) == "newer than the image"


def test_the_newest_is_the_original_while_the_store_is_as_it_was_seeded(site):
    inode = os.stat(site.path()).st_ino
    site.start()
    assert restore(site, restore="newest").paths[0]["state"] == "unlinked"
    assert os.stat(site.path()).st_ino == inode and os.listdir(site.image) == ["data"]


@pytest.mark.parametrize("which", ["the store's", "the one aside"])
def test_the_newest_is_no_original_that_is_not_what_was_seeded(site, which):
    site.start()
    changed = site.stored("data/one") if which == "the store's" else site.path("data-initial/one")
    with open(changed, "a") as file:
        file.write(", and more")
    restore(site, restore="newest")
    assert read(site.path("data/one")) == ("first, and more" if which == "the store's" else "first")


def test_the_newest_is_the_original_that_was_kept_last(site):
    site.start()
    write(site.path("data/row"), "of the first time")
    restore(site)
    os.rename(site.stored(), site.store + "/gone")
    os.unlink(site.books + "/record.json")
    site.seed(allow_foreign=True)
    site.link()
    assert os.path.isdir(site.path("data-initial")) and os.path.isdir(site.path("data-initial.1"))
    restore(site, restore="newest")
    assert read(site.path("data/row")) == "of the first time" and not os.path.exists(site.path("data-initial.1"))


def test_of_what_was_made_nothing_is_kept_aside_and_it_is_copied_back(site):
    paths = [site.path(), {"path": site.path("late"), "missing": "make"}]
    site.seed(paths=paths)
    site.link(paths=paths)
    inode = os.stat(site.path("data-initial")).st_ino
    site.link(paths=paths, state="unlinked", restore="newest")
    assert os.stat(site.path()).st_ino == inode and os.listdir(site.path("late")) == []


def test_a_second_time_changes_nothing(used):
    restore(used, restore="aside")
    before = used.untouched()
    outcome = restore(used, restore="aside")
    assert (outcome.changed, outcome.paths[0]["state"]) == (False, "already") and used.untouched() == before


@pytest.mark.parametrize("gone", ["the volume", "its content"])
def test_the_original_comes_back_though_the_store_is_lost(used, gone):
    os.rename(used.store, used.store + "-lost")
    if gone == "its content":
        os.mkdir(used.store)
    for choice in ("store", "aside"):
        refused(used, lambda choice=choice: used.seed(), used.path(), used.path("data-initial"), kind=PathError)
    outcome = restore(used, restore="aside")
    assert outcome.paths[0]["state"] == "unlinked" and read_tree(used.path()) == used.original


def test_what_was_left_to_the_image_is_not_promised(used):
    shutil.rmtree(used.path("data-initial"))
    error = refused(used, lambda: restore(used, restore="aside"), used.path(), "image", kind=LinkError)
    assert "Re-create" in error.hint


def test_what_comes_back_and_is_not_what_was_seeded_is_warned_of(used):
    write(used.path("data-initial/one"), "changed while it was aside")
    outcome = restore(used, restore="aside")
    assert any("not what was seeded" in warning for warning in outcome.warnings)


def test_that_the_next_start_links_again_is_said(used):
    for choice in ("store", "aside"):
        outcome = restore(used, restore=choice, check_mode=True)
        assert any("cm_persist_paths" in warning for warning in outcome.warnings)


@pytest.mark.parametrize("choice", ["store", "aside"])
def test_a_rehearsal_tells_the_steps_and_changes_nothing(used, choice):
    before = used.untouched()
    rehearsed = restore(used, restore=choice, check_mode=True)
    assert used.untouched() == before
    done = restore(used, restore=choice)
    assert (done.steps, done.paths, done.warnings) == (rehearsed.steps, rehearsed.paths, rehearsed.warnings)


def test_a_path_that_nobody_has_is_missing(used):
    assert restore(used, "data", "never").paths[1]["state"] == "missing"


@pytest.mark.root
def test_too_little_room_is_told_before_anything_is_copied(used, mounts):
    mounts("-t", "tmpfs", "-o", "size=64k,nr_inodes=40", "none", used.path("small"))
    write(used.path("small/file"), "seeded")
    used.start("small/file")
    with open(used.stored("small/file"), "wb") as file:
        file.write(os.urandom(100_000))
    error = refused(used, lambda: restore(used, "small/file"), used.path("small/file"), "too small", kind=LinkError)
    assert "aside" in error.hint


def test_a_copy_that_fails_leaves_the_link(used, monkeypatch):
    def full(*_arguments, **_options):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("module_utils.cm_persist.tree.copy_data.FileData.copy", full)
        with pytest.raises(Exception, match="No space"):
            restore(used)
    assert os.readlink(used.path()) == used.stored() and sorted(os.listdir(used.image)) == ["data", "data-initial"]
    assert restore(used).paths[0]["state"] == "unlinked"
    assert_same(used.path(), used.stored())


@pytest.mark.root
@pytest.mark.parametrize("choice", ["store", "aside"])
def test_a_path_that_was_bound(site, mounts, choice):
    site.original = read_tree(site.path())
    mounts("--bind", site.image, site.image)
    site.seed()
    site.link(method="bind")
    write(site.path("data/row"), "newer than the image")
    stored = footprint(site.store)
    outcome = restore(site, restore=choice, method="bind")
    assert not is_mounted(site.path()) and footprint(site.store) == stored and outcome.paths[0]["state"] == "unlinked"
    assert read_tree(site.path()) == (read_tree(site.stored()) if choice == "store" else site.original)
    assert [name for name in os.listdir(site.image) if name.startswith(".")] == []
    assert not restore(site, restore=choice, method="bind").changed


@pytest.mark.root
def test_under_a_mount_that_a_reboot_has_taken_the_original_is_what_was_asked_for(site, mounts):
    site.original = read_tree(site.path())
    mounts("--bind", site.image, site.image)
    site.seed()
    site.link(method="bind")
    run("umount", site.path())
    assert restore(site, restore="aside", method="bind").paths[0]["state"] == "unlinked"
    assert read_tree(site.path()) == site.original and os.listdir(site.image) == ["data"]


def test_without_a_link_before_none_is_made_where_the_rename_fails(used, monkeypatch):
    os.unlink(used.path())  # as a killed run leaves it
    os.rename(used.store, used.store + "-lost")

    def layered(*_arguments):
        raise OSError(18, "Invalid cross-device link")

    with monkeypatch.context() as patch:
        patch.setattr("module_utils.cm_persist.fs.syscalls.rename_noreplace", layered)
        with pytest.raises(LinkError, match="layer"):
            restore(used, restore="aside")
    assert not os.path.lexists(used.path()), "a link to what is not there"
    assert restore(used, restore="aside").paths[0]["state"] == "unlinked"


@pytest.mark.root
def test_a_mount_that_outlives_its_store_is_taken_away_for_the_original(site, mounts):
    site.original = read_tree(site.path())
    mounts("-t", "tmpfs", "none", site.store)
    mounts("--bind", site.image, site.image)
    site.seed()
    site.link(method="bind")
    run("umount", "--lazy", site.store)
    os.rmdir(site.store)
    assert restore(site, restore="aside", method="bind").paths[0]["state"] == "unlinked"
    assert not is_mounted(site.path()) and read_tree(site.path()) == site.original


def test_an_original_that_cannot_be_renamed_back_leaves_the_link(used, monkeypatch):
    def layered(*_arguments):
        raise OSError(18, "Invalid cross-device link")

    with monkeypatch.context() as patch:
        patch.setattr("module_utils.cm_persist.fs.syscalls.rename_noreplace", layered)
        with pytest.raises(LinkError, match="rename"):
            restore(used, restore="aside")
    assert os.readlink(used.path()) == used.stored() and read_tree(used.path("data-initial")) == used.original
    assert restore(used, restore="aside").paths[0]["state"] == "unlinked"


def test_half_removed_cannot_be_put_back(used):
    shutil.rmtree(used.path("data-initial"))
    write(used.path(".data.cm_persist-removal"), "{}")
    error = refused(used, lambda: restore(used, restore="aside"), used.path(), kind=LinkError)
    assert "Re-create" in error.hint
    assert read(used.path("data/row")) == "newer than the image"


def test_a_link_into_another_store_is_not_called_unlinked(used):
    other = os.path.join(used.top, "other")
    os.mkdir(other)
    for choice in ("store", "aside"):
        options = {"store": other, "restore": choice}
        error = refused(used, lambda options=options: restore(used, **options), used.path(), used.stored(), kind=LinkError)
        assert "cm_persist_store" in error.hint


@pytest.mark.root
@pytest.mark.parametrize("other", ["another store", "the store made again", "somebody's mount over ours"])
def test_a_mount_that_is_not_the_store_s_is_not_called_unlinked(site, mounts, other):
    mounts("--bind", site.image, site.image)
    site.seed()
    site.link(method="bind")
    options = {"method": "bind", "restore": "aside"}
    if other == "another store":
        options["store"] = os.path.join(site.top, "other")
        os.mkdir(options["store"])
    elif other == "the store made again":
        os.rename(site.stored(), site.stored() + "-before")
        shutil.copytree(site.stored() + "-before", site.stored(), symlinks=True)
    else:
        run("mount", "-t", "tmpfs", "none", site.path())
    with pytest.raises(LinkError, match="mount"):
        restore(site, **options)
    assert is_mounted(site.path()) and os.path.exists(site.path(".data.cm_persist-bound"))


@pytest.mark.root
def test_of_two_mounts_of_the_store_none_is_left(site, mounts):
    site.original = read_tree(site.path())
    mounts("--bind", site.image, site.image)
    site.seed()
    site.link(method="bind")
    run("mount", "--bind", site.stored(), site.path())
    with pytest.raises(LinkError, match="too"):
        restore(site, restore="aside", method="bind")
    assert restore(site, restore="aside", method="bind").paths[0]["state"] == "unlinked"
    assert not is_mounted(site.path()) and read_tree(site.path()) == site.original


@pytest.mark.root
def test_a_top_that_is_immutable_in_the_store_is_refused_before_the_link_goes(used):
    run("chattr", "+i", used.stored())
    error = refused(used, lambda: restore(used), used.stored(), kind=LinkError)
    assert "chattr" in error.hint and os.path.islink(used.path())
    run("chattr", "-i", used.stored())
    assert restore(used).paths[0]["state"] == "unlinked"


def test_of_several_that_are_kept_the_one_that_was_seeded_comes_back(site):
    os.mkdir(site.path("data-initial"))
    write(site.path("data-initial/by"), "an earlier tool")
    site.original = read_tree(site.path())
    site.start()
    assert restore(site, restore="aside").paths[0]["state"] == "unlinked"
    assert read_tree(site.path()) == site.original and read(site.path("data-initial/by")) == "an earlier tool"


def test_what_else_is_kept_is_named(used):
    os.unlink(used.path())
    os.mkdir(used.path())
    write(used.path("data/newer"), "than the store")
    used.link()
    outcome = restore(used, restore="aside")
    assert read_tree(used.path()) == used.original
    assert any(used.path("data-initial.1") in warning for warning in outcome.warnings)
