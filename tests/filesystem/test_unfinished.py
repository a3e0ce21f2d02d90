# SPDX-License-Identifier: Apache-2.0
"""What an interrupted run left in the store, made by hand or by an error at a chosen step."""

import os

import pytest

from module_utils.cm_persist.errors import CopyError, StoreError
from module_utils.cm_persist.seed.steps import Publish
from module_utils.cm_persist.store.steps import Sync, WriteRecord
from tests.site import run, write
from tests.tree import assert_same, footprint

STAGING = ".cm_persist/staging"


class SimulatedError(Exception):
    pass


def interrupt(monkeypatch, step):
    def stop(*_arguments):
        raise SimulatedError

    monkeypatch.setattr(step, "execute", stop)


def test_a_copy_that_was_published_but_not_recorded_is_completed(site, monkeypatch):
    interrupt(monkeypatch, WriteRecord)
    with pytest.raises(SimulatedError):
        site.seed()
    monkeypatch.undo()
    before = footprint(site.store + site.path())
    outcome = site.seed()
    assert (outcome.store_state, outcome.paths[0]["state"], outcome.paths[0]["files"]) == ("partial", "seeded", 3)
    assert footprint(site.store + site.path()) == before and not os.path.exists(os.path.join(site.store, STAGING))
    assert site.link().paths[0]["state"] == "linked"


def test_one_published_and_one_not(site, monkeypatch):
    site.fill("other")
    publish = Publish.execute

    def first_only(step, running):
        if step.spec.path != site.path():
            raise SimulatedError
        publish(step, running)

    monkeypatch.setattr(Publish, "execute", first_only)
    with pytest.raises(SimulatedError):
        site.seed("data", "other")
    monkeypatch.undo()
    before = footprint(site.store + site.path())
    assert not os.path.lexists(site.stored("other"))
    outcome = site.seed("data", "other")
    assert [path["state"] for path in outcome.paths] == ["seeded", "seeded"]
    assert footprint(site.store + site.path()) == before
    assert_same(site.path("other"), site.stored("other"))


def test_a_failure_before_anything_is_published_leaves_no_copy(site, monkeypatch):
    interrupt(monkeypatch, Sync)
    with pytest.raises(SimulatedError):
        site.seed()
    assert os.listdir(os.path.join(site.store, STAGING)) == [] and not os.path.lexists(site.store + site.top)


@pytest.mark.root
def test_leftovers_are_removed_whatever_they_are(site):
    left = os.path.join(site.store, STAGING, "killed", "tree")
    os.makedirs(os.path.join(left, "sub"))
    os.chmod(site.books, 0o700)
    write(os.path.join(left, "sub", "file"), "a part")
    write(os.path.join(site.store, STAGING, "file"), "not ours")
    os.symlink(site.image, os.path.join(site.store, STAGING, "link"))
    os.mkfifo(os.path.join(left, "fifo"))
    for name in ("sub/file", "sub"):
        run("chattr", "+i", os.path.join(left, name))
    before = footprint(site.image)
    site.seed()
    assert footprint(site.image) == before and not os.path.exists(os.path.join(site.store, STAGING))
    assert_same(site.path(), site.stored())


def test_what_stands_where_a_copy_is_published_is_never_replaced(site, monkeypatch):
    publish = Publish.execute

    def too_late(step, running):
        os.makedirs(os.path.dirname(site.stored()), exist_ok=True)
        write(site.stored(), "came meanwhile")
        publish(step, running)

    monkeypatch.setattr(Publish, "execute", too_late)
    with pytest.raises(StoreError) as failure:
        site.seed()
    with open(site.stored()) as file:
        assert file.read() == "came meanwhile"
    assert failure.value.path == site.stored()


def test_an_empty_directory_that_came_meanwhile_is_not_replaced_either(site, monkeypatch):
    publish = Publish.execute

    def too_late(step, running):
        os.makedirs(site.stored())
        publish(step, running)

    monkeypatch.setattr(Publish, "execute", too_late)
    with pytest.raises(StoreError):
        site.seed()
    assert os.listdir(site.stored()) == []


@pytest.mark.parametrize("when", ["grown", "cut", "touched"])
def test_a_file_that_changes_while_it_is_copied_is_an_error(site, monkeypatch, when):
    from module_utils.cm_persist.tree import copy_data

    copy = copy_data.FileData.copy

    def meanwhile(self, source, target, status, path):
        if str(path) == site.path("data/one"):
            write(str(path), {"grown": "first and more", "cut": "", "touched": "FIRST"}[when])
        return copy(self, source, target, status, path)

    monkeypatch.setattr(copy_data.FileData, "copy", meanwhile)
    with pytest.raises(CopyError) as failure:
        site.seed()
    assert failure.value.path == site.path("data/one") and not os.path.lexists(site.store + site.top)


@pytest.mark.parametrize("happens", ["comes", "goes"])
def test_a_directory_that_changes_while_it_is_copied_is_an_error(site, monkeypatch, happens):
    from module_utils.cm_persist.tree import copy_data

    copy = copy_data.FileData.copy

    def meanwhile(self, source, target, status, path):
        digest = copy(self, source, target, status, path)
        if str(path) == site.path("data/one"):
            write(site.path("data/a"), "came") if happens == "comes" else os.unlink(str(path))
        return digest

    monkeypatch.setattr(copy_data.FileData, "copy", meanwhile)
    with pytest.raises(CopyError) as failure:
        site.seed()
    assert site.path() in str(failure.value) and not os.path.lexists(site.store + site.top)
