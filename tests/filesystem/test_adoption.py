# SPDX-License-Identifier: Apache-2.0
"""Content that an earlier tool put in the store: taken over as it is."""

import os
import shutil

import pytest

from module_utils.cm_persist.errors import StoreError
from tests.site import write
from tests.tree import footprint


@pytest.fixture
def earlier(site):
    """Site: whose store holds "data" as the earlier script left it: without a record."""
    shutil.copytree(site.path(), site.stored(), symlinks=True)
    write(site.stored("data/row"), "newer than the image")
    return site


def test_it_is_adopted_and_nothing_is_copied(earlier):
    before = footprint(earlier.store + earlier.path())
    seeded, linked = earlier.start()
    assert (seeded.store_state, seeded.paths[0]["state"], seeded.paths[0]["files"]) == ("partial", "adopted", 4)
    assert footprint(earlier.store + earlier.path()) == before
    assert linked.paths[0]["state"] == "linked"


def test_a_warning_says_what_nobody_can_know(earlier):
    warning = earlier.seed().warnings[0]
    assert earlier.stored() in warning and "complete" in warning


def test_a_warning_names_what_the_original_has_beyond(earlier):
    os.unlink(earlier.stored("data/one"))
    assert "one" in earlier.seed().warnings[0]


@pytest.mark.root
def test_a_warning_names_another_owner(earlier):
    os.chown(earlier.stored(), 70001, 70002)
    assert "70001:70002" in earlier.seed().warnings[0]


def test_a_restart_after_it_is_an_ordinary_one(earlier):
    earlier.start()
    before = footprint(earlier.store)
    seeded, linked = earlier.start()
    assert (seeded.changed, linked.changed, seeded.warnings) == (False, False, [])
    assert footprint(earlier.store) == before


def test_what_the_earlier_script_linked_is_adopted(earlier):
    shutil.rmtree(earlier.path())
    os.symlink(earlier.stored(), earlier.path())
    seeded, linked = earlier.start()
    assert (seeded.paths[0]["state"], linked.paths[0]["state"]) == ("adopted", "already")


def test_a_path_of_another_type_is_refused(earlier):
    shutil.rmtree(earlier.stored())
    write(earlier.stored(), "a file")
    before = earlier.untouched()
    with pytest.raises(StoreError) as refusal:
        earlier.seed()
    assert refusal.value.path == earlier.stored() and "file" in str(refusal.value) and refusal.value.hint
    assert earlier.untouched() == before


def test_paths_that_the_store_lacks_are_seeded_beside_it(earlier):
    earlier.fill("more")
    seeded, _linked = earlier.start("data", "more")
    assert [path["state"] for path in seeded.paths] == ["adopted", "seeded"]
