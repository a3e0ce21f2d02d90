# SPDX-License-Identifier: Apache-2.0
"""Owners in the store follow their names, and a top that a volume plug-in has widened gets its own mode back."""

import json
import os
import shutil

import pytest

from module_utils.cm_persist.errors import StoreError
from module_utils.cm_persist.fs.accounts import Accounts
from module_utils.cm_persist.store import renumber
from tests.kill import killed_before_change
from tests.site import read, write
from tests.upgrades import FIRST, NEW, OLD, Upgraded, ship, upgraded


@pytest.fixture
def site(tmp_path):
    return upgraded(str(tmp_path), "site")


def test_names_of_owners_compare(site):
    one, two = Accounts({"root": 0, "cfyuser": 994}, {"root": 0}), Accounts({"root": 0, "cfyuser": 995}, {"root": 0})
    shutil.rmtree(site.store)
    os.mkdir(site.store)
    ship(site, {"own": "x", "other": "x"})
    os.chown(site.path() + "/own", 994, 0)
    site.start_as(OLD, accounts=one)
    ship(site, {"own": "x", "other": "x"})
    os.chown(site.path() + "/own", 995, 0)
    outcome = site.start_as(accounts=two, policy="merge")
    assert os.stat(site.stored() + "/own").st_uid == 995
    assert outcome.paths[0]["state"] == "already" and outcome.paths[0]["image_change"]["hidden"] == 0


@pytest.mark.parametrize("back", [False, True])
def test_killed_before_each_change_owners_follow_their_names(tmp_path, back):
    numbers = [{"root": 0, "a": 994, "b": 995, "c": 996}, {"root": 0, "a": 995, "b": 994, "c": 997}]
    one, two = (Accounts(each, {"root": 0, "staff": 50 + index}) for index, each in enumerate(numbers))
    for number in range(400):
        site = Upgraded(str(tmp_path / str(number)))
        ship(site, {name: name for name in ("a", "b", "c", "suid")})
        for name in ("a", "b", "c"):
            os.chown(os.path.join(site.path(), name), one.users[name], 50)
        os.chown(site.path() + "/suid", 994, 50)
        os.chown(site.image, 996, 50)  # as /var/lib/pgsql is, above its data
        os.chmod(site.path() + "/suid", 0o6750)
        site.start_as(OLD, accounts=one)
        shutil.rmtree(site.image)
        os.mkdir(site.image)
        assert os.stat(site.store + site.image).st_uid == 996
        killed = killed_before_change(number, lambda site=site: site.start_as(accounts=two))
        after = one if back else two  # the next start may be of the old image again
        site.start_as(OLD if back else NEW, accounts=after)
        for name in ("a", "b", "c"):
            status = os.stat(os.path.join(site.stored(), name))
            assert (status.st_uid, status.st_gid) == (after.users[name], after.groups["staff"])
        assert os.stat(site.store + site.image).st_uid == after.users["c"]
        status = os.stat(site.stored() + "/suid")
        assert (status.st_uid, status.st_mode & 0o7777) == (after.users["a"], 0o6750)
        assert not site.start_as(OLD if back else NEW, accounts=after).changed
        left = {name for name in os.listdir(site.books) if not name.endswith(".new")}  # the next one to be written replaces it
        assert left == {"lock", "manifests", "owners.json", "record.json"}
        shutil.rmtree(site.top)
        if not killed:
            assert number > 15
            return
    raise AssertionError("it never came to its end")


def test_a_top_that_a_plug_in_has_widened_is_put_right(site):
    os.chmod(site.stored(), 0o2755)
    assert not site.start_as(OLD, policy="keep").warnings, "somebody's own choice is not what fsGroup does"
    os.chmod(site.stored(), 0o755)
    shutil.rmtree(site.store)
    os.mkdir(site.store)
    ship(site, FIRST)
    os.chmod(site.path(), 0o700)
    site.start_as(OLD)
    os.chown(site.stored(), -1, 2000)
    os.chmod(site.stored(), 0o2770)
    outcome = site.start_as(OLD)
    status = os.stat(site.stored())
    assert (status.st_gid, status.st_mode & 0o7777) == (0, 0o700) and "fsGroup" in outcome.warnings[0]
    assert not site.start_as(OLD).changed


def test_a_widened_top_gets_the_number_that_its_owner_has_now(site):
    one, two = (Accounts({"root": 0, "postgres": number}, {"root": 0, "postgres": number}) for number in (26, 1026))
    shutil.rmtree(site.store)
    os.mkdir(site.store)
    ship(site, FIRST)
    os.chown(site.path(), 26, 26)
    os.chmod(site.path(), 0o700)
    site.start_as(OLD, accounts=one)
    os.chown(site.stored(), -1, 2000)
    os.chmod(site.stored(), 0o2770)
    site.start_as(accounts=two)
    status = os.stat(site.stored())
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (1026, 1026, 0o700)


def test_numbers_that_the_user_namespace_lacks_are_refused_before_anything_is_begun(tmp_path):
    write(str(tmp_path / "uid_map"), "         0     100000      65536\n")
    renumber._refuse_unmapped("/store", "uid", [0, 65535], str(tmp_path))
    with pytest.raises(StoreError, match="uid 65536, which this user namespace does not have"):
        renumber._refuse_unmapped("/store", "uid", [995, 65536], str(tmp_path))


@pytest.mark.parametrize("path", ["../victim", "a/../../victim", ""])
def test_a_note_of_a_file_outside_the_store_is_refused(site, path):
    victim = os.path.join(site.top, "victim")
    write(victim, "mine")
    mode = os.stat(victim).st_mode
    note = {"path": path.encode().hex(), "uid": 7, "gid": 7, "mode": 0o4777, "capability": "", "flags": 0}
    write(site.books + "/owner.json", json.dumps(note))
    with open(site.books + "/owners.json") as file:
        owners = json.load(file)
    write(site.books + "/owners.json", json.dumps(dict(owners, begun={"users": [[1234, 1235]], "groups": []})))
    with pytest.raises(StoreError, match="owner.json"):
        site.start_as(OLD)
    assert (os.stat(victim).st_uid, os.stat(victim).st_mode, read(victim)) == (0, mode, "mine")


def test_a_record_that_leads_out_of_the_store_is_broken(site):
    with open(site.books + "/record.json") as file:
        text = file.read()
    write(site.books + "/record.json", text.replace(site.path(), "/../victim"))
    with pytest.raises(StoreError, match="record is broken"):
        site.start_as(OLD)
