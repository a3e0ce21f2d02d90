# SPDX-License-Identifier: Apache-2.0
"""Every bad input is refused with the path and a remedy, and leaves both sides untouched."""

import itertools
import json
import os

import pytest

from module_utils.cm_persist.errors import PathError, PersistError, SpecError, StoreError
from module_utils.cm_persist.tree import copy_tree as copying
from module_utils.cm_persist.tree.walk import walk
from tests.site import run, write


def refused(site, act, path, *words, kind=PersistError):
    """PersistError: that an act ends with; it names the path, has a remedy, and nothing has changed."""
    before = site.untouched()
    with pytest.raises(kind) as refusal:
        act()
    assert refusal.value.path == path and path in str(refusal.value)
    assert refusal.value.hint.endswith(".") and all(word in str(refusal.value) for word in words)
    assert site.untouched() == before
    return refusal.value


BOTH = pytest.mark.parametrize("verb", ["seed", "link"])


@BOTH
@pytest.mark.parametrize(
    ("paths", "named"),
    [
        (["var/lib/data"], "var/lib/data"),
        (["./data"], "./data"),
        (["/"], "/"),
        (["//./"], "/"),
        (["/a/../b"], "/a/../b"),
        ([""], "''"),
        (["/a", "/b/", "/a//"], "/a"),
        (["/a", "/a/b"], "/a/b"),
        (["/a/b", "/a"], "/a/b"),
        ([{"path": "/a", "methode": "bind"}], "/a"),
        ([{"path": "/a", "method": "copy"}], "/a"),
    ],
)
def test_paths_that_make_no_sense(site, verb, paths, named):
    refused(site, lambda: getattr(site, verb)(paths=paths), named, kind=SpecError)


@BOTH
def test_the_store_inside_a_state_path(site, verb):
    refused(site, lambda: getattr(site, verb)(paths=[site.top]), site.store, site.top, kind=SpecError)


@BOTH
def test_a_state_path_inside_the_store(site, verb):
    inside = site.store + "/data"
    refused(site, lambda: getattr(site, verb)(paths=[inside]), inside, site.store, kind=SpecError)


@BOTH
def test_the_store_as_a_state_path(site, verb):
    refused(site, lambda: getattr(site, verb)(paths=[site.store]), site.store, kind=SpecError)


def test_a_state_path_that_leads_into_the_store(site):
    os.mkdir(os.path.join(site.store, "below"))
    os.symlink(site.store, site.path("way"))
    refused(site, lambda: site.seed("way/below"), site.path("way/below"), site.store, kind=PathError)


def test_a_store_that_leads_into_a_state_path(site, monkeypatch):
    os.rmdir(site.store)
    os.mkdir(site.path("data/volume"))
    os.symlink(site.path("data/volume"), site.store)
    # Copied into itself it would never end.
    monkeypatch.setattr(copying, "walk", lambda *arguments: itertools.islice(walk(*arguments), 100))
    refused(site, site.seed, site.path(), site.store)


def test_two_spellings_of_one_place(site):
    os.symlink(site.image, os.path.join(site.top, "alias"))
    again = os.path.join(site.top, "alias", "data")
    refused(site, lambda: site.seed(paths=[site.path(), again]), again, site.path(), kind=PathError)


def test_a_state_path_that_neither_side_has(site):
    error = refused(site, lambda: site.seed("data", "nowhere"), site.path("nowhere"), kind=PathError)
    assert "cm_persist_missing" in error.hint


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.symlink("data", path)], ids=["fifo", "link"])
@BOTH
def test_a_state_path_that_is_neither_directory_nor_file(site, verb, make):
    site.seed()
    make(site.path("other"))
    refused(site, lambda: getattr(site, verb)("other"), site.path("other"))


@BOTH
def test_a_store_that_is_a_file(site, verb):
    os.rmdir(site.store)
    write(site.store, "not a directory")
    refused(site, getattr(site, verb), site.store, kind=StoreError)


@BOTH
def test_a_store_that_is_a_dangling_link(site, verb):
    os.rmdir(site.store)
    os.symlink("/nowhere/at/all", site.store)
    refused(site, getattr(site, verb), site.store, "/nowhere/at/all", kind=StoreError)


def test_no_store_where_one_is_required(site):
    os.rmdir(site.store)
    error = refused(site, lambda: site.seed(required=True), site.store, kind=StoreError)
    assert error.results["store_state"] == "absent"


@BOTH
def test_a_link_into_a_store_that_is_not_there(site, verb):
    site.start()
    os.rename(site.store, site.store + "-unmounted")
    error = refused(site, getattr(site, verb), site.path(), site.store, kind=PathError)
    assert "Mount" in error.hint


@BOTH
def test_a_link_into_a_volume_that_was_emptied(site, verb):
    site.start()
    os.rename(site.store, site.store + "-full")
    os.mkdir(site.store)
    error = refused(site, getattr(site, verb), site.path(), site.stored())
    assert site.path("data-initial") in error.hint


def test_foreign_content(site):
    write(os.path.join(site.store, "precious"), "someone's")
    error = refused(site, site.seed, site.store, "precious", kind=StoreError)
    assert error.results["store_state"] == "foreign" and "cm_persist_allow_foreign" in error.hint


def test_foreign_content_beside_the_directories_of_a_state_path(site):
    os.makedirs(os.path.join(os.path.dirname(site.stored()), "someone"))
    refused(site, site.seed, site.store, "someone", kind=StoreError)


@pytest.mark.root
@pytest.mark.parametrize("writable", ["volume", "mount"])
def test_a_read_only_store_that_would_have_to_be_written(site, mounts, volume, writable):
    site.store = volume()
    if writable == "volume":
        run("mount", "-o", "remount,ro", site.store)
    else:
        mounts("--bind", site.store, site.store)
        run("mount", "-o", "remount,bind,ro", site.store)
    error = refused(site, site.seed, site.store, "read-only", kind=StoreError)
    assert "read-write" in error.hint


@pytest.mark.root
def test_a_read_only_store_that_holds_everything_is_good_enough(site, volume):
    site.store = volume()
    site.start()
    run("mount", "-o", "remount,ro", site.store)
    seeded, linked = site.start()
    assert (seeded.changed, linked.changed) == (False, False)


RECORDS = {
    "newer": json.dumps({"schema": 2, "paths": {}}),
    "not JSON": "{",
    "empty": "",
    "a list": "[]",
    "no paths": json.dumps({"schema": 1}),
    "paths of a wrong type": json.dumps({"schema": 1, "paths": []}),
    "an entry of a wrong type": json.dumps({"schema": 1, "paths": {"/a": []}}),
}


@BOTH
@pytest.mark.parametrize("kind", RECORDS)
def test_a_record_that_cannot_be_used(site, verb, kind):
    site.start()
    record = os.path.join(site.books, "record.json")
    write(record, RECORDS[kind])
    error = refused(site, getattr(site, verb), record, kind=StoreError)
    assert (error.results.get("store_state") == "newer") == (kind == "newer")


@BOTH
def test_a_record_of_what_is_not_there(site, verb):
    site.start()
    os.rename(site.stored(), site.store + "/lost+found")
    refused(site, getattr(site, verb), site.stored() if verb == "seed" else site.path(), site.stored())


def test_a_recorded_path_of_another_type(site):
    site.seed()
    os.rename(site.stored(), site.stored() + "-moved")
    write(site.stored(), "a file")
    refused(site, site.seed, site.stored(), kind=StoreError)


def test_a_path_around_one_that_was_seeded(site):
    site.seed("data/sub")
    refused(site, site.seed, site.path(), site.path("data/sub"))


@pytest.mark.parametrize("planted", ["", "/image", "/image/data"])
def test_a_link_planted_in_the_store_leads_nowhere(site, top, planted):
    elsewhere = os.path.join(top, "elsewhere")
    os.mkdir(elsewhere)
    planted = site.store + site.top + planted
    os.makedirs(os.path.dirname(planted))
    os.symlink(elsewhere, planted)
    before = site.untouched()
    with pytest.raises(StoreError):
        site.seed()
    assert site.untouched() == before and os.listdir(elsewhere) == []


def test_a_state_directory_that_is_a_link(site, top):
    os.mkdir(os.path.join(top, "elsewhere"))
    os.symlink(os.path.join(top, "elsewhere"), site.books)
    refused(site, site.seed, site.books, kind=StoreError)


def test_a_state_directory_that_is_a_file(site):
    write(site.books, "someone's")
    refused(site, site.seed, site.books, kind=StoreError)


@pytest.mark.root
def test_a_state_directory_of_another_user(site):
    os.mkdir(site.books, 0o700)
    os.chown(site.books, 70001, 70001)
    refused(site, site.seed, site.books, "70001", kind=StoreError)


@pytest.mark.root
def test_something_is_mounted_in_a_state_path(site, mounts):
    mounts("-t", "tmpfs", "none", site.path("data/sub"))
    refused(site, site.seed, site.path(), site.path("data/sub"), kind=PathError)


@pytest.mark.root
@pytest.mark.parametrize("flag", ["i", "a"])
def test_an_original_that_is_itself_immutable(site, flag):
    run("chattr", "+" + flag, site.path())
    error = refused(site, site.seed, site.path())
    assert "chattr -ia" in error.hint


@pytest.mark.root
def test_a_place_in_the_store_that_is_another_mount(site, mounts):
    mounts("-t", "tmpfs", "none", site.store + site.image)
    refused(site, site.seed, site.stored())


@pytest.mark.root
@pytest.mark.parametrize("flag", ["i", "a"])
@pytest.mark.parametrize("name", ["data", "data/one"])
def test_a_state_path_that_could_not_be_renamed(site, flag, name):
    run("chattr", "+" + flag, site.path(name))
    error = refused(site, lambda: site.seed(name), site.path(name), kind=PathError)
    assert "chattr" in error.hint
