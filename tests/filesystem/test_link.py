# SPDX-License-Identifier: Apache-2.0
"""Symbolic links from the state paths into the store, on a file system that can rename."""

import os
import shutil

import pytest

from module_utils.cm_persist.errors import LinkError, StoreError
from module_utils.cm_persist.link.restore_steps import CopyBack
from module_utils.cm_persist.link.steps import MakeLink
from tests.site import read, write
from tests.tree import assert_same, footprint, read_tree

from .test_bad_input import refused


@pytest.fixture
def seeded(site):
    site.seed()
    return site


def test_each_state_path_is_linked_and_its_original_kept_aside(seeded):
    original = read_tree(seeded.path())
    outcome = seeded.link()
    aside = seeded.path("data-initial")
    expected = {"path": seeded.path(), "state": "linked", "method": "symlink", "original": "kept", "aside": aside}
    assert outcome.changed and outcome.paths == [dict(expected, diverged=False)]
    assert os.readlink(seeded.path()) == seeded.stored()
    assert read_tree(aside) == original


def test_linking_does_not_write_to_the_store(seeded):
    before = footprint(seeded.store)
    seeded.link()
    assert footprint(seeded.store) == before


def test_a_correct_link_is_left_alone(seeded):
    seeded.link()
    before = seeded.untouched()
    outcome = seeded.link()
    assert (outcome.changed, outcome.steps, outcome.paths[0]["state"]) == (False, [], "already")
    assert outcome.paths[0]["aside"] == seeded.path("data-initial")
    assert seeded.untouched() == before


def test_a_rehearsal_of_a_first_start_tells_the_steps_of_the_real_one(site):
    before = site.untouched()
    rehearsed = site.link(check_mode=True)
    assert site.untouched() == before
    site.seed()
    linked = site.link()
    assert (linked.steps, linked.paths) == (rehearsed.steps, rehearsed.paths)


def test_a_path_that_the_image_no_longer_has_is_linked(seeded):
    shutil.rmtree(seeded.image)
    assert seeded.link().paths[0]["original"] == "none"
    assert os.readlink(seeded.path()) == seeded.stored()
    assert os.stat(seeded.image).st_mode == os.stat(os.path.dirname(seeded.stored())).st_mode


def test_what_replaced_the_link_is_kept_under_a_free_name(seeded):
    seeded.link()
    os.unlink(seeded.path())
    os.mkdir(seeded.path())
    write(seeded.path("data/newer"), "than the store")
    initial = read_tree(seeded.path("data-initial"))
    outcome = seeded.link()
    assert outcome.paths[0]["aside"] == seeded.path("data-initial.1")
    assert read(seeded.path("data-initial.1/newer")) == "than the store"
    assert read_tree(seeded.path("data-initial")) == initial
    assert seeded.path("data-initial.1") in outcome.warnings[0]
    assert not os.path.exists(seeded.stored("data/newer"))


def test_it_is_kept_as_often_as_it_happens(seeded):
    for number in range(3):
        seeded.link()
        os.unlink(seeded.path())
        os.mkdir(seeded.path())
        write(seeded.path("data/newer"), str(number))
    seeded.link()
    kept = [read(seeded.path("data-initial.{}/newer".format(number))) for number in (1, 2, 3)]
    assert kept == ["0", "1", "2"]


def replace(site, name="data"):
    os.unlink(site.path(name))
    os.mkdir(site.path(name))
    write(site.path(name + "/newer"), "than the store")


def test_what_replaced_the_link_is_told_of_though_the_run_is_killed_before_the_end(seeded, monkeypatch):
    seeded.link()
    replace(seeded)

    def killed(*_arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MakeLink, "execute", killed)
        with pytest.raises(KeyboardInterrupt):
            seeded.link()
    outcome = seeded.link()
    assert (outcome.paths[0]["aside"], outcome.paths[0]["diverged"]) == (seeded.path("data-initial.1"), True)
    assert seeded.path("data-initial.1") in outcome.warnings[0]


def test_what_replaced_one_link_is_told_of_though_another_path_fails(site, monkeypatch):
    site.fill("other")
    site.start("data", "other")
    replace(site)
    os.unlink(site.path("other"))
    make = MakeLink.execute

    def fails(step, run):
        if step.spec.path == site.path("other"):
            raise OSError(5, "Input/output error")
        make(step, run)

    monkeypatch.setattr(MakeLink, "execute", fails)
    with pytest.raises(LinkError) as failure:
        site.link("data", "other")
    assert any(site.path("data-initial.1") in warning for warning in failure.value.warnings)


@pytest.mark.root
def test_a_path_whose_directory_is_the_store_s_is_left_alone(site, mounts):
    """As with a subPath of the volume that is mounted at the directory above."""
    site.fill("above/data")
    site.seed("above/data")
    mounts("--bind", site.stored("above"), site.path("above"))
    assert site.seed("above/data").paths[0]["state"] == "already"
    error = refused(site, lambda: site.link("above/data"), site.path("above/data"), "store's own", kind=LinkError)
    assert "cm_persist_paths" in error.hint
    assert not site.link("above/data", state="unlinked").changed


@pytest.mark.parametrize(
    "content", ['{"manifest": "m", "within": "", "aside": 5}', '{"manifest": "m", "within": "", "aside": "/a/.."}']
)
def test_a_broken_note_is_told_as_such(seeded, content):
    write(seeded.path(".data.cm_persist-removal"), content)
    with pytest.raises(StoreError) as failure:
        seeded.link()
    assert "note" in str(failure.value) and os.path.isdir(seeded.path())


@pytest.mark.parametrize("kind", ["link", "file"])
def test_a_taken_name_is_never_written_over(seeded, kind):
    if kind == "link":
        os.symlink("nowhere", seeded.path("data-initial"))
    else:
        write(seeded.path("data-initial"), "someone's")
    before = footprint(seeded.path("data-initial"))
    outcome = seeded.link()
    assert outcome.paths[0]["aside"] == seeded.path("data-initial.1")
    assert footprint(seeded.path("data-initial")) == before


def test_a_foreign_link_is_refused(seeded):
    os.rename(seeded.path(), seeded.path("moved"))
    os.symlink("moved", seeded.path())
    refused(seeded, seeded.link, seeded.path(), "moved", kind=LinkError)


def test_another_type_than_in_the_store_is_refused(seeded):
    shutil.rmtree(seeded.path())
    write(seeded.path(), "a file")
    refused(seeded, seeded.link, seeded.path(), "file", "directory", kind=LinkError)


def test_one_refusal_leaves_the_other_paths_as_they_are(seeded):
    seeded.fill("other")
    refused(seeded, lambda: seeded.link("data", "other"), seeded.path("other"), kind=LinkError)


def test_what_is_not_in_the_store_is_not_linked(site):
    refused(site, site.link, site.path(), site.stored(), kind=LinkError)


@pytest.mark.root
@pytest.mark.parametrize("where", ["data", "data/sub"])
def test_a_mount_at_or_below_the_path_is_refused(seeded, mounts, where):
    mounts("-t", "tmpfs", "none", seeded.path(where))
    refused(seeded, seeded.link, seeded.path(), seeded.path(where), kind=LinkError)


def test_a_link_replaces_nothing_that_came_meanwhile(seeded, monkeypatch):
    make = MakeLink.execute

    def too_late(step, run):
        write(step.spec.path, "came meanwhile")
        make(step, run)

    monkeypatch.setattr(MakeLink, "execute", too_late)
    with pytest.raises(LinkError):
        seeded.link()
    assert read(seeded.path()) == "came meanwhile"


def test_unlinked_puts_the_newest_back(seeded):
    seeded.link()
    write(seeded.path("data/row"), "newer than the image")
    before = footprint(seeded.store)
    outcome = seeded.link(state="unlinked")
    assert outcome.paths[0]["state"] == "unlinked" and outcome.changed
    assert_same(seeded.path(), seeded.stored())
    assert footprint(seeded.store) == before


def test_unlinked_leaves_no_helper_behind(seeded):
    seeded.link()
    seeded.link(state="unlinked")
    assert sorted(os.listdir(seeded.image)) == ["data", "data-initial"]


def test_unlinked_twice_changes_nothing(seeded):
    seeded.link()
    seeded.link(state="unlinked")
    before = seeded.untouched()
    outcome = seeded.link(state="unlinked")
    assert (outcome.changed, outcome.paths[0]["state"]) == (False, "already")
    assert seeded.untouched() == before


def test_unlinked_then_linked_keeps_what_was_put_back(seeded):
    seeded.link()
    seeded.link(state="unlinked")
    write(seeded.path("data/row"), "written while unlinked")
    outcome = seeded.link()
    assert read(os.path.join(outcome.paths[0]["aside"], "row")) == "written while unlinked"


def test_unlinked_goes_on_after_a_kill_between_unlink_and_rename(seeded):
    seeded.link()
    os.unlink(seeded.path())
    seeded.link(state="unlinked")
    assert_same(seeded.path(), seeded.stored())


def test_unlinked_does_not_replace_a_file_that_took_the_link_s_place(site, monkeypatch):
    write(site.path("file"), "seeded")
    site.start("file")
    copy_back = CopyBack.execute

    def too_late(step, run):
        write(site.path("new"), "newer than the store")
        os.rename(site.path("new"), site.path("file"))
        copy_back(step, run)

    monkeypatch.setattr(CopyBack, "execute", too_late)
    with pytest.raises(LinkError):
        site.link("file", state="unlinked")
    assert read(site.path("file")) == "newer than the store"


def test_unlinked_without_content_in_the_store_is_refused(seeded):
    seeded.link()
    os.rename(seeded.stored(), seeded.stored() + "-gone")
    refused(seeded, lambda: seeded.link(state="unlinked"), seeded.path(), kind=LinkError)
