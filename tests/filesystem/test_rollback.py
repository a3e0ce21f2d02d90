# SPDX-License-Identifier: Apache-2.0
"""The tree that a merge replaced is kept, and comes back; killed at any change, a merge or the way back leaves a whole tree."""

import json
import os
import shutil

import pytest

from module_utils.cm_persist import swap
from module_utils.cm_persist.errors import PathError
from tests.kill import killed_before_change
from tests.site import read, write
from tests.tree import footprint, read_tree
from tests.upgrades import FIRST, MERGED, OLD, SECOND, entry_of, roll_back, ship, texts, upgraded, used


@pytest.fixture
def site(tmp_path):
    return upgraded(str(tmp_path), "site")


def test_the_old_tree_is_kept_and_comes_back(site):
    before, seeded = read_tree(site.stored()), entry_of(site)
    site.start_as(policy="merge")
    merged = read_tree(site.stored())
    shutil.rmtree(site.path())
    outcome = roll_back(site)
    assert outcome.paths[0]["state"] == "rolled_back" and read_tree(site.stored()) == before
    assert dict(entry_of(site), manifest=seeded["manifest"]) == seeded
    assert sorted(os.listdir(site.books)) == ["backups", "lock", "manifests", "owners.json", "record.json"]
    assert len(os.listdir(site.books + "/manifests")) == 1
    ship(site, FIRST)
    assert not site.start_as(OLD, policy="merge").changed, "with its own list"
    assert roll_back(site).paths[0]["state"] == "rolled_back" and read_tree(site.stored()) == merged


def test_generations_are_limited(site):
    for number in range(3, 7):
        ship(site, dict(SECOND, changed2=str(number)))
        site.start_as("manager:{}".format(number), policy="merge", backups=2)
    (kept,) = os.listdir(site.books + "/backups")
    assert sorted(os.listdir(os.path.join(site.books, "backups", kept))) == ["3", "4"]
    ship(site, SECOND)
    site.start_as("manager:7", policy="merge", backups=0)
    assert not os.listdir(os.path.join(site.books, "backups", kept))
    assert roll_back(site).paths[0]["state"] == "already"


def test_going_back_in_check_mode_changes_nothing(site):
    site.start_as(policy="merge")
    before = site.untouched()
    rehearsed = roll_back(site, rehearse=True)
    assert site.untouched() == before and rehearsed.steps == roll_back(site).steps


def test_there_is_nothing_to_go_back_to(site):
    outcome = roll_back(site)
    assert not outcome.changed and "nothing is kept" in outcome.warnings[0]


def test_a_path_in_use_does_not_go_back(site):
    site.start_as(policy="merge")
    before = footprint(site.stored())
    with used(site.stored()), pytest.raises(PathError) as failure:
        roll_back(site)
    assert "in use" in failure.value.found and footprint(site.stored()) == before


def test_where_names_cannot_change_places_two_renames_do(site, monkeypatch):
    monkeypatch.setattr(swap, "rename_exchange", unavailable)
    before = read_tree(site.stored())
    site.start_as(policy="merge")
    assert texts(site.stored()) == MERGED
    roll_back(site)
    assert read_tree(site.stored()) == before


@pytest.mark.parametrize("exchange", [True, False])
@pytest.mark.parametrize("act", ["merge", "roll back"])
def test_killed_before_each_change_it_is_the_old_tree_or_the_new(tmp_path, monkeypatch, act, exchange):
    if not exchange:
        monkeypatch.setattr(swap, "rename_exchange", unavailable)
    for number in range(400):
        site = upgraded(str(tmp_path), number)
        before = read_tree(site.stored())
        if act == "roll back":
            site.start_as(policy="merge")
        merged = texts(site.stored())
        run = {"merge": lambda site=site: site.start_as(policy="merge"), "roll back": lambda site=site: roll_back(site)}[act]
        killed = killed_before_change(number, run)
        between = texts(site.stored())
        assert between in (merged, MERGED) or (not exchange and not between) or read_tree(site.stored()) == before
        if act == "merge":
            assert site.start_as(policy="merge").paths[0]["state"] in ("merged", "already") and texts(site.stored()) == MERGED
            assert roll_back(site).changed and read_tree(site.stored()) == before, "what was replaced is kept"
        else:
            # Either is whole; once more from where it is, and it is where it should be.
            roll_back(site) if texts(site.stored()) == MERGED or not between else None
            if texts(site.stored()) == MERGED:
                roll_back(site)
            assert read_tree(site.stored()) == before
            assert roll_back(site).changed and texts(site.stored()) == MERGED
        assert "staging" not in os.listdir(site.books)
        shutil.rmtree(site.top)
        if not killed:
            assert number > 15
            return
    raise AssertionError("it never came to its end")


def unavailable(*_unused):
    raise OSError(22, "Invalid argument")


def test_a_note_that_leads_out_of_the_store_is_not_followed(site):
    note, number = os.path.join(site.books, "staging", swap.swap_name(site.path(), swap.MERGE), "swap.json"), 0
    while not os.path.exists(note):  # as a run leaves it that was killed before it was done
        killed_before_change(number, lambda: site.start_as(policy="merge"))
        number += 1
    victim = os.path.join(site.top, "victim")
    shutil.copytree(site.stored(), victim)
    before = footprint(victim)
    write(note, read(note).replace(json.dumps(site.path()), json.dumps("/../victim")))
    site.start_as(policy="merge")
    assert footprint(victim) == before and texts(site.stored()) == MERGED
