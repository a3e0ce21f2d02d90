# SPDX-License-Identifier: Apache-2.0
"""Owners in the store follow their names, and a top that a volume plug-in has widened gets its own mode back."""

import json
import os
import shutil
import struct

import pytest

from module_utils.cm_persist.errors import StoreError
from module_utils.cm_persist.fs.accounts import Accounts
from module_utils.cm_persist.host.machine import Machine
from module_utils.cm_persist.seed import observe as seed_observe
from module_utils.cm_persist.seed import seed as seeding
from module_utils.cm_persist.seed.seed import Settings
from module_utils.cm_persist.store import renumber
from module_utils.cm_persist.upgrade import rollback as rolling
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


PARKED = 1 << 30


def people(**numbers):
    """Accounts: these users, and groups of the same names and numbers."""
    numbers = dict(numbers, root=0)
    return Accounts(numbers, dict(numbers))


def owned(site, files, accounts):
    """Fill an empty store from an image that calls its owners so; files is a dict of names to numbers of user and group."""
    shutil.rmtree(site.store)
    os.mkdir(site.store)
    ship(site, dict.fromkeys(files, "x"))
    for name, number in files.items():
        os.chown(os.path.join(site.path(), name), number, number)
    site.start_as(OLD, accounts=accounts)


def numbers(site):
    """dict: name to number of user and group of each file at the top of the store's path."""
    found = {}
    for name in os.listdir(site.stored()):
        status = os.stat(os.path.join(site.stored(), name))
        assert status.st_uid == status.st_gid
        found[name] = status.st_uid
    return found


def access_list(number):
    """bytes: an ACL that names a user and a group of that number."""
    entries = ((0x01, 6, -1), (0x02, 4, number), (0x04, 4, -1), (0x08, 4, number), (0x10, 4, -1), (0x20, 0, -1))
    acl = b"".join(struct.pack("<HHI", tag, may, each & 0xFFFFFFFF) for tag, may, each in entries)
    return struct.pack("<I", 2) + acl


def test_a_number_that_is_parked_is_nobodys(site):
    there = {"a": 994, "b": 995, "theirs": PARKED + 994, "first": PARKED}
    owned(site, there, people(a=994, b=995))
    site.start_as(accounts=people(a=995, b=994))
    assert numbers(site) == dict(there, a=995, b=994)


def test_files_of_a_name_that_is_gone_do_not_become_those_of_a_new_name(site):
    owned(site, {"gone": 5, "kept": 6}, people(gone=5, kept=6))
    outcome = site.start_as(accounts=people(new=5, kept=6))
    assert numbers(site) == {"gone": PARKED, "kept": 6}
    assert "the image has no user gone, and gives its number, 5, to another: its files get 1073741824" in "\n".join(
        outcome.warnings
    )
    assert not site.start_as(accounts=people(new=5, kept=6)).changed
    site.start_as(OLD, allow_downgrade=True, accounts=people(gone=5, kept=6))
    assert numbers(site) == {"gone": 5, "kept": 6}


def test_a_name_without_files_is_forgotten_and_nothing_is_changed_for_it(site):
    owned(site, {"kept": 6}, people(gone=5, kept=6))
    outcome = site.start_as(accounts=people(new=5, kept=6))
    assert numbers(site) == {"kept": 6} and not outcome.warnings
    with open(site.books + "/owners.json") as file:
        assert json.load(file)["users"] == {"root": 0, "new": 5, "kept": 6}


def test_files_that_belong_to_no_name_do_not_become_those_of_a_name_that_gets_their_number(site):
    owned(site, {"db": 26, "theirs": 1026}, people(db=26))
    outcome = site.start_as(accounts=people(db=1026))
    assert numbers(site) == {"db": 1026, "theirs": PARKED}
    text = "files of user 1026 belong to no name, as {}/theirs: they get 1073741824".format(site.stored())
    assert text in "\n".join(outcome.warnings)
    assert not site.start_as(accounts=people(db=1026)).changed
    site.start_as(OLD, allow_downgrade=True, accounts=people(db=26))
    assert numbers(site) == {"db": 26, "theirs": 1026}
    assert not site.start_as(OLD, allow_downgrade=True, accounts=people(db=26)).changed


def test_a_number_in_a_list_of_access_is_in_use(site):
    owned(site, {"db": 26, "shared": 0}, people(db=26))
    shared, acl = site.stored() + "/shared", "system.posix_acl_access"
    os.setxattr(shared, acl, access_list(1026))
    site.start_as(accounts=people(db=1026))
    assert numbers(site) == {"db": 1026, "shared": 0} and os.getxattr(shared, acl) == access_list(PARKED)


def test_a_number_in_a_kept_tree_is_in_use(site):
    owned(site, {"db": 26, "a2": 0}, people(db=26))
    ship(site, {"db": "x", "a2": "y"})
    os.chown(site.path() + "/db", 26, 26)
    site.start_as(policy="merge", accounts=people(db=26))
    (kept,) = (os.path.join(where, "db") for where, _names, files in os.walk(site.books + "/backups") if "db" in files)
    os.chown(kept, 1026, 1026)
    site.start_as("manager:3.0", accounts=people(db=1026))
    assert os.stat(kept).st_uid == PARKED and numbers(site)["db"] == 1026


def test_two_owners_that_an_image_makes_one_are_refused(site):
    owned(site, {"a": 1, "b": 2}, people(a=1, b=2))
    before = site.untouched()
    with pytest.raises(StoreError, match="gives the users a and b one number, 5") as refusal:
        site.start_as(accounts=people(a=5, b=5))
    assert "own" in refusal.value.hint
    with pytest.raises(StoreError, match="gives the users a and b one number, 2"):
        site.start_as(accounts=people(a=2, b=2))
    assert site.untouched() == before
    owned(site, {"b": 2}, people(a=1, b=2))
    site.start_as(accounts=people(a=5, b=5))
    assert numbers(site) == {"b": 5}, "nobody loses anything where one of them has no files"
    site.start_as(OLD, allow_downgrade=True, accounts=people(a=1, b=2))
    assert numbers(site) == {"b": 2}


def test_names_that_share_a_number_may_go_on_sharing_one(site):
    owned(site, {"both": 1}, people(a=1, b=1))
    site.start_as(accounts=people(a=5, b=5))
    assert numbers(site) == {"both": 5}


def test_the_store_is_looked_through_only_where_owners_get_other_numbers(site, monkeypatch):
    owned(site, {"a": 1, "gone": 2}, people(a=1, gone=2))
    looked = []
    monkeypatch.setattr(seed_observe, "numbers_in_use", lambda *_arguments: looked.append(1))
    site.start_as(OLD, accounts=people(a=1, gone=2))
    site.start_as(accounts=people(a=1, new=3))
    assert not looked


def test_killed_before_each_change_no_two_owners_become_one(tmp_path):
    there = {"a": 994, "b": 995, "gone": 996, "theirs": 997, "parked": PARKED}
    one, two = people(a=994, b=995, gone=996, c=998), people(a=995, b=994, new=996, c=997)
    for number in range(400):
        site = Upgraded(str(tmp_path / str(number)))
        owned(site, dict(there, c=998), one)
        killed = killed_before_change(number, lambda site=site: site.start_as(accounts=two))
        site.start_as(accounts=two)
        found = numbers(site)
        assert (found["a"], found["b"], found["c"], found["parked"]) == (995, 994, 997, PARKED)
        assert min(found["gone"], found["theirs"]) > PARKED and len(set(found.values())) == len(found)
        assert not site.start_as(accounts=two).changed
        site.start_as(OLD, allow_downgrade=True, accounts=one)
        assert numbers(site) == dict(there, c=998)
        shutil.rmtree(site.top)
        if not killed:
            assert number > 15
            return
    raise AssertionError("it never came to its end")


def forgotten(site, there, accounts):
    """A store of which somebody has moved the record away, as docs/recovery.md says."""
    owned(site, there, accounts)
    os.rename(site.books + "/record.json", site.books + "/record.json.old")


def test_what_is_adopted_follows_its_names_too(site):
    forgotten(site, {"a": 994, "b": 995}, people(a=994, b=995))
    outcome = site.start_as(accounts=people(a=995, b=994))
    assert outcome.paths[0]["state"] == "adopted" and numbers(site) == {"a": 995, "b": 994}
    assert not site.start_as(accounts=people(a=995, b=994)).changed


def test_killed_before_each_change_what_is_adopted_follows_its_names_too(tmp_path):
    there, one, two = {"a": 994, "b": 995, "suid": 994}, people(a=994, b=995), people(a=995, b=994)
    for number in range(400):
        site = Upgraded(str(tmp_path / str(number)))
        forgotten(site, there, one)
        os.chmod(site.stored() + "/suid", 0o6755)
        os.chown(site.stored(), 995, 2000)  # as kubelet's fsGroup leaves what has mode 0700 in the image
        os.chmod(site.stored(), 0o2770)
        os.chown(site.path(), 994, 994)
        os.chmod(site.path(), 0o700)
        killed = killed_before_change(number, lambda site=site: site.start_as(accounts=two))
        if number % 2:  # not all that it does is the next one's
            rolling.roll_back(Settings(**site._options(("other",), {})))
        site.start_as(accounts=two)
        top = os.stat(site.stored())
        assert numbers(site) == {"a": 995, "b": 994, "suid": 995}
        assert (top.st_uid, top.st_gid, top.st_mode & 0o7777) == (994, 994, 0o700)
        assert os.stat(site.stored() + "/suid").st_mode & 0o7777 == 0o6755
        assert not site.start_as(accounts=two).changed
        shutil.rmtree(site.top)
        if not killed:
            assert number > 15
            return
    raise AssertionError("it never came to its end")


def names_file(site, users, place="etc/passwd"):
    """Write a file that says what users are called, into the image or at a place in the store."""
    path = os.path.join(site.image, place)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    write(path, "".join("{}:x:{}:{}::/:/bin/sh\n".format(name, number, number) for name, number in users.items()))
    return path


def booted(site, *names, users, groups, image=OLD, policy="keep"):
    """Outcome: of the start of a new container whose own files name users and groups so, with "data" and these state paths."""
    names_file(site, users)
    names_file(site, groups, "etc/group")
    paths = [{"path": site.path(name), "on_image_change": policy} for name in ("data", *names)]
    options = site._options((), {"lease": False, "image": image, "image_manifest": site.list_image(), "paths": paths})
    return seeding.seed(Settings(**options), machine=Machine(root=site.image))


@pytest.fixture
def fresh(tmp_path):
    """Upgraded: with an image whose file "own" is that of a user and a group with number 26, and an empty store."""
    site = Upgraded(str(tmp_path / "fresh"))
    ship(site, {"own": "x"})
    os.chown(site.path() + "/own", 26, 26)
    return site


def ids(site, path="own"):
    status = os.stat(os.path.join(site.stored(), path))
    return status.st_uid, status.st_gid


PEOPLE, NEW_PEOPLE = {"root": 0, "db": 26}, {"root": 0, "db": 1026}


def test_the_files_of_the_image_say_who_is_who(fresh):
    booted(fresh, users=PEOPLE, groups=PEOPLE)
    booted(fresh, users=NEW_PEOPLE, groups=NEW_PEOPLE, image=NEW)
    assert ids(fresh) == (1026, 1026)


@pytest.mark.parametrize(
    ("names", "expected"), [(["etc/passwd"], (26, 1026)), (["etc/group"], (1026, 26)), (["etc"], (26, 26))], ids=str
)
def test_a_state_path_that_holds_the_names_says_who_is_who(fresh, names, expected):
    booted(fresh, *names, users=PEOPLE, groups=PEOPLE)
    outcome = booted(fresh, *names, users=NEW_PEOPLE, groups=NEW_PEOPLE, image=NEW)
    assert ids(fresh) == expected
    fresh.link("data", *names)  # which is what is in use from here on
    again = booted_as_it_is(fresh, *names)
    assert not again.changed and ids(fresh) == expected, outcome.steps


def booted_as_it_is(site, *names):
    paths = [site.path(name) for name in ("data", *names)]
    options = site._options((), {"lease": False, "image": NEW, "paths": paths})
    return seeding.seed(Settings(**options), machine=Machine(root=site.image))


def test_names_that_are_adopted_say_who_is_who(fresh):
    booted(fresh, "etc/passwd", users=PEOPLE, groups=PEOPLE)
    os.unlink(fresh.books + "/record.json")
    booted(fresh, "etc/passwd", users=NEW_PEOPLE, groups=NEW_PEOPLE, image=NEW)
    assert ids(fresh) == (26, 1026)


def test_names_that_are_new_among_the_state_paths_are_the_images(fresh):
    booted(fresh, users=PEOPLE, groups=PEOPLE)
    booted(fresh, "etc/passwd", users=NEW_PEOPLE, groups=NEW_PEOPLE, image=NEW)
    assert ids(fresh) == (1026, 1026)


@pytest.mark.parametrize("touched", [False, True])
@pytest.mark.parametrize("names", ["etc", "etc/passwd"])
def test_names_that_a_merge_replaces_are_the_images(fresh, names, touched):
    booted(fresh, names, users=PEOPLE, groups=PEOPLE)
    if touched:
        with open(fresh.stored("etc/passwd"), "a") as file:
            file.write("mine:x:5:5::/:/bin/sh\n")
    os.chown(fresh.path() + "/own", 1026, 26)
    booted(fresh, names, users=NEW_PEOPLE, groups=PEOPLE, image=NEW, policy="merge")
    in_use = "26:26" if touched else "1026:1026"
    assert "db:x:" + in_use in read(fresh.stored("etc/passwd")) and ids(fresh)[0] == int(in_use.split(":")[0])


def test_what_stands_in_the_place_of_names_names_nobody(fresh):
    booted(fresh, "etc", users=PEOPLE, groups=PEOPLE)
    os.unlink(fresh.stored("etc/passwd"))
    os.symlink(names_file(fresh, NEW_PEOPLE, "victim"), fresh.stored("etc/passwd"))
    booted(fresh, "etc", users=NEW_PEOPLE, groups=NEW_PEOPLE, image=NEW)
    assert ids(fresh) == (26, 26)
