# SPDX-License-Identifier: Apache-2.0
"""The tree that a merge replaced is kept, and comes back; killed at any change, a merge or the way back leaves a whole tree."""

import itertools
import json
import os
import shutil

import pytest

from module_utils.cm_persist.errors import PathError, StoreError
from module_utils.cm_persist.plan import Plan
from module_utils.cm_persist.seed import seed
from module_utils.cm_persist.store import layout as layout_module
from module_utils.cm_persist.store import swap
from module_utils.cm_persist.store.backups import KeepOld
from module_utils.cm_persist.store.layout import label
from module_utils.cm_persist.store.steps import WriteRecord
from tests.kill import killed_before_change, killed_in
from tests.site import read, write
from tests.tree import footprint, read_tree
from tests.upgrades import FIRST, MERGED, NEW, OLD, SECOND, Upgraded, entry_of, roll_back, ship, texts, upgraded, used


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
    assert entry_of(site) == dict(seeded, left={"id": NEW, "name": NEW})
    assert sorted(os.listdir(site.books)) == ["backups", "lock", "manifests", "owners.json", "record.json"]
    assert len(os.listdir(site.books + "/manifests")) == 2
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


def test_a_merge_that_keeps_nothing_comes_to_its_end_wherever_it_is_killed(tmp_path):
    for number in itertools.count():
        site = upgraded(str(tmp_path), number)
        killed = killed_in(KeepOld, number, lambda site=site: site.start_as(policy="merge", backups=0))
        assert site.start_as(policy="merge", backups=0).paths[0]["state"] in ("merged", "already")
        assert texts(site.stored()) == MERGED and "staging" not in os.listdir(site.books)
        shutil.rmtree(site.top)
        if not killed:
            assert number > 10
            return


def test_the_same_plan_twice_is_an_error_and_no_loop(site, monkeypatch):
    same = Plan((("record", (WriteRecord(site.store),)),), resume_only=True)
    monkeypatch.setattr(seed, "plan_seed", lambda *_values: same)
    with pytest.raises(StoreError, match="are due again"):
        site.start_as()


def test_going_back_in_check_mode_changes_nothing(site):
    site.start_as(policy="merge")
    before = site.untouched()
    rehearsed = roll_back(site, check_mode=True)
    assert site.untouched() == before and rehearsed.steps == roll_back(site).steps


def test_there_is_nothing_to_go_back_to(site):
    outcome = roll_back(site)
    assert not outcome.changed and "nothing is kept" in outcome.warnings[0]


def test_a_path_in_use_does_not_go_back(site):
    site.start_as(policy="merge")
    before = footprint(site.stored(), site.books + "/backups")
    with used(site.stored()), pytest.raises(PathError) as failure:
        roll_back(site)
    assert "in use" in failure.value.found and footprint(site.stored(), site.books + "/backups") == before


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
        before, texts_of_old = read_tree(site.stored()), texts(site.stored())
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
            if between != texts_of_old or under_way(site):
                assert roll_back(site).paths[0]["state"] == "rolled_back"
            assert read_tree(site.stored()) == before
            assert roll_back(site).changed and texts(site.stored()) == MERGED
        assert "staging" not in os.listdir(site.books)
        shutil.rmtree(site.top)
        if not killed:
            assert number > 15
            return
    raise AssertionError("it never came to its end")


@pytest.mark.parametrize("next_is", ["roll back", "start"])
def test_all_paths_go_back_or_none(tmp_path, next_is):
    """Killed before each change: what comes next finds all paths as they were, or all to go back, and completes that."""
    for number in range(400):
        site = two_paths(str(tmp_path / str(number)))
        killed = killed_before_change(number, lambda site=site: roll_back(site, paths=TWO.of(site)))
        went = versions(site) == [1, 1]
        if next_is == "start":
            site.start_as(OLD, paths=TWO.of(site), allow_downgrade=True)
        elif not went or under_way(site):
            roll_back(site, paths=TWO.of(site))
        found = versions(site)
        assert found == [1, 1] or (next_is == "start" and found == [2, 2]), found
        assert not under_way(site)
        for path in TWO.names:
            kept = os.path.join(site.books, "backups", label(site.path(path)))
            (generation,) = os.listdir(kept)
            assert read(os.path.join(kept, generation, "tree/file")) == str(3 - found[0])
        shutil.rmtree(site.top)
        if not killed:
            assert number > 15 and went
            return
    raise AssertionError("it never came to its end")


def test_a_way_back_that_a_start_completes_waits_for_who_uses_the_store(tmp_path):
    site, number = two_paths(str(tmp_path / "site")), 0
    while versions(site) != [1, 2]:
        killed_before_change(number, lambda: roll_back(site, paths=TWO.of(site)))
        number += 1
    with used(site.stored("more")), pytest.raises(PathError, match="in use"):
        site.start_as(OLD, paths=TWO.of(site), allow_downgrade=True)
    assert versions(site) == [1, 2]
    site.start_as(OLD, paths=TWO.of(site), allow_downgrade=True)
    assert versions(site) == [1, 1]


class TWO:
    """Two state paths, each with a file that says which version of the image it is of."""

    names = ("data", "more")

    @classmethod
    def of(cls, site):
        return [{"path": site.path(path)} for path in cls.names]


def two_paths(top):
    """Upgraded: both paths were seeded by version 1 and merged with version 2."""
    site = Upgraded(top)
    for version, name in ((1, OLD), (2, NEW)):
        for path in TWO.names:
            os.makedirs(site.path(path), exist_ok=True)
            write(site.path(path) + "/file", str(version))
        site.start_as(name, paths=[dict(path, on_image_change="merge") for path in TWO.of(site)])
    assert versions(site) == [2, 2]
    return site


def versions(site):
    return [int(read(site.stored(path) + "/file")) for path in TWO.names]


def under_way(site):
    """bool: whether a way back was begun and is not done."""
    staging = site.books + "/staging"
    return os.path.isdir(staging) and any(name.endswith(swap.ROLLBACK_SUFFIX) for name in os.listdir(staging))


def unavailable(*_unused):
    raise OSError(22, "Invalid argument")


def test_a_note_that_leads_out_of_the_store_is_not_followed(site):
    note, number = os.path.join(site.books, "staging", layout_module.swap_name(site.path(), swap.MERGE_SUFFIX), "swap.json"), 0
    while not os.path.exists(note):  # as a run leaves it that was killed before it was done
        killed_before_change(number, lambda: site.start_as(policy="merge"))
        number += 1
    victim = os.path.join(site.top, "victim")
    shutil.copytree(site.stored(), victim)
    before = footprint(victim)
    write(note, read(note).replace(json.dumps(site.path()), json.dumps("/../victim")))
    site.start_as(policy="merge")
    assert footprint(victim) == before and texts(site.stored()) == MERGED
