# SPDX-License-Identifier: Apache-2.0
"""Seeding an empty store, and starting again on a seeded one."""

import os

import pytest

from tests.site import read, write
from tests.tree import assert_same, footprint


def test_the_store_gets_the_original_whole_under_the_same_path(site):
    outcome = site.seed()
    assert (outcome.changed, outcome.store_state) == (True, "empty")
    result = outcome.paths[0]
    assert (result["path"], result["state"], result["files"], result["bytes"]) == (site.path(), "seeded", 3, 11)
    assert_same(site.path(), site.stored())


def test_the_original_is_only_read(site):
    before = footprint(site.image)
    site.seed()
    assert footprint(site.image) == before


def test_the_directories_above_a_copy_have_the_image_s_owner_and_mode(site):
    os.chmod(site.image, 0o710)
    site.seed()
    assert os.stat(os.path.dirname(site.stored())).st_mode & 0o7777 == 0o710


def test_the_books_are_private_and_hold_no_leftover(site):
    site.seed()
    assert os.stat(site.books).st_mode & 0o7777 == 0o700
    assert sorted(os.listdir(site.books)) == ["lock", "manifests", "owners.json", "record.json"]


def test_a_restart_changes_nothing_on_the_store(site):
    site.start()
    before = footprint(site.store)
    seeded, linked = site.start()
    assert (seeded.changed, linked.changed, seeded.store_state) == (False, False, "seeded")
    assert seeded.paths[0]["state"] == linked.paths[0]["state"] == "already"
    assert footprint(site.store) == before


def test_a_restart_tells_how_much_was_seeded(site):
    first = site.seed().paths[0]
    again = site.seed().paths[0]
    assert (again["files"], again["bytes"]) == (first["files"], first["bytes"])


def test_a_restart_does_not_walk_what_is_stored(site, monkeypatch):
    site.start()
    monkeypatch.setattr("module_utils.cm_persist.tree.scan.walk", None)
    monkeypatch.setattr("module_utils.cm_persist.tree.manifest.walk", None)
    site.start()


def test_a_new_container_finds_the_state_of_the_old_one(site):
    site.start()
    write(os.path.join(site.path(), "row"), "written by the old container")
    os.unlink(site.path())
    site.fill()
    seeded, _linked = site.start()
    assert seeded.changed is False
    assert read(os.path.join(site.path(), "row")) == "written by the old container"


@pytest.mark.parametrize("name", ["lost+found", ".snapshot", ".Trash-0"])
def test_what_file_systems_leave_counts_as_nothing(site, name):
    os.mkdir(os.path.join(site.store, name))
    assert site.seed().store_state == "empty"
    assert_same(site.path(), site.stored())


def test_an_empty_directory_in_the_store_is_replaced(site):
    os.makedirs(site.stored())
    assert site.seed().paths[0]["state"] == "seeded"
    assert_same(site.path(), site.stored())


def test_an_empty_original_is_seeded(site):
    os.mkdir(site.path("empty"))
    assert site.seed("empty").paths[0]["files"] == 0
    assert os.listdir(site.stored("empty")) == []


def test_a_single_file_can_be_a_state_path(site):
    write(site.path("file"), "text")
    seeded, linked = site.start("file")
    assert (seeded.paths[0]["files"], seeded.paths[0]["bytes"]) == (1, 4)
    assert_same(site.path("file-initial"), site.stored("file"))
    assert os.readlink(site.path("file")) == site.stored("file") and linked.paths[0]["original"] == "kept"


def test_a_path_that_is_added_later_is_seeded_when_its_turn_comes(site):
    site.start()
    site.fill("later")
    before = footprint(site.stored())
    seeded, _linked = site.start("data", "later")
    assert (seeded.store_state, [path["state"] for path in seeded.paths]) == ("partial", ["already", "seeded"])
    assert footprint(site.stored()) == before
    assert_same(site.path("later-initial"), site.stored("later"))


def test_a_path_that_neither_side_has_can_be_skipped(site):
    seeded, linked = site.seed("data", "nowhere", missing="skip"), site.link("data", "nowhere")
    assert [path["state"] for path in seeded.paths] == ["seeded", "missing"]
    assert [path["state"] for path in linked.paths] == ["linked", "missing"]
    assert site.path("nowhere") in seeded.warnings[0] and not os.path.lexists(site.path("nowhere"))


def test_a_rehearsal_tells_the_steps_and_takes_none(site):
    before = site.untouched()
    rehearsed = site.seed(check_mode=True)
    assert site.untouched() == before and rehearsed.changed
    assert site.seed().steps == rehearsed.steps


def test_seeding_beside_foreign_content_is_possible_on_request(site):
    write(os.path.join(site.store, "precious"), "someone's")
    assert site.seed(allow_foreign=True).store_state == "foreign"
    assert_same(site.path(), site.stored())
    assert read(os.path.join(site.store, "precious")) == "someone's"


def test_no_store_is_no_persistence(site):
    os.rmdir(site.store)
    before = footprint(site.image)
    seeded, linked = site.start()
    assert (seeded.changed, linked.changed, seeded.store_state) == (False, False, "absent")
    assert "no persistence" in seeded.message and footprint(site.image) == before


def test_a_directory_without_a_mount_is_no_store(site):
    before = site.untouched()
    assert site.seed(require_mount=True).store_state == "absent"
    assert site.untouched() == before


@pytest.mark.root
def test_a_mounted_volume_is_a_store(site, mounts):
    mounts("-t", "tmpfs", "none", site.store)
    outcome = site.seed(require_mount=True)
    assert outcome.store_state == "empty"
    assert "tmpfs" in outcome.warnings[0] and site.store in outcome.warnings[0]
