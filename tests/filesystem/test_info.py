# SPDX-License-Identifier: Apache-2.0
"""What persist_info tells of a store and its state paths, what it calls a problem, and that it touches nothing."""

import contextlib
import errno
import json
import os
import shutil

import pytest

from module_utils.cm_persist.errors import CopyError, LinkError, SpecError
from module_utils.cm_persist.fs.accounts import Accounts
from module_utils.cm_persist.lease import lease
from module_utils.cm_persist.lease import plan as lease_plan
from module_utils.cm_persist.report import state_path, verify
from module_utils.cm_persist.report.status import Settings, report_status
from module_utils.cm_persist.store import backups
from tests.leases import Container, held_elsewhere
from tests.plays import play, results
from tests.site import as_nobody, read, run, write
from tests.upgrades import NEW, OLD, upgraded


@pytest.fixture
def wanted(site):
    return {"cm_persist_store": site.store, "cm_persist_paths": [site.path()], "cm_persist_require_mount": False}


def seen(site, *names, **options):
    """Info: of the site, which it must not touch, and which JSON must be able to hold."""
    before = site.untouched()
    info = report_status(Settings(**site._options(names, options)))
    assert site.untouched() == before and not info.changed
    assert info.healthy is (not info.problems) and json.loads(json.dumps(info._asdict()))
    assert all(text.startswith("/") and text.endswith(".") for text in info.problems)
    return info


def wrong(site, *names, **options):
    """str: the one problem of the site."""
    info = seen(site, *names, **options)
    (text,) = info.problems
    assert info.message == text and not info.healthy
    return text


def path_of(site, *names, **options):
    """dict: of the only path of a site that is well."""
    info = seen(site, *names, **options)
    assert info.problems == []
    return info.paths[0]


def replace_link(site, text="newer", name="data"):
    os.unlink(site.path(name))
    os.mkdir(site.path(name))
    if text:
        write(site.path(name + "/own"), text)


def test_no_store_is_well_unless_a_path_hangs_on_it(site):
    info = seen(site, require_mount=True)
    assert info.healthy and not info.store["present"] and info.store["state"] == "absent" and info.store["size_bytes"] is None
    assert info.message == "no persistence: no volume is mounted at {}".format(site.store)
    assert (info.paths[0]["state"], info.paths[0]["files"], info.paths[0]["in_store"]) == ("own", None, False)
    site.start()
    os.rename(site.store, site.store + ".away")
    text = wrong(site)
    assert text.startswith(site.path() + ": it is a link into the store, but ") and site.path("data-initial") in text
    assert not seen(site).store["present"] and not os.path.lexists(site.store)


def test_a_store_that_cannot_be_used_is_a_problem_and_no_failure(site):
    write(site.store + ".file", "not a directory")
    info = seen(site, store=site.store + ".file")
    assert "the store is not a directory" in info.problems[0] and not info.store["present"]
    site.start()
    os.chmod(site.books, 0o777)
    info = seen(site)
    assert "mode 0777" in info.problems[0] and info.store["present"] and info.store["state"] is None
    assert len(info.problems) == 1 and info.paths[0]["state"] == "linked"


def test_bad_input_is_a_failure(site):
    with pytest.raises(SpecError):
        seen(site, paths=["relative"])


def test_before_the_first_run(site):
    info = seen(site)
    assert info.healthy and info.message == "healthy" and os.listdir(site.store) == []
    store, space = info.store, os.statvfs(site.store)
    assert store["state"] == "empty" and store["present"] and store["unclaimed"] == [] and not store["read_only"]
    assert store["size_bytes"] == space.f_blocks * space.f_frsize and 0 < store["free_bytes"] <= store["size_bytes"]
    assert store["lease"] == {"held": False, "here": False, "detail": ""} and store["fs_type"]
    assert info.paths == [
        {
            "path": site.path(), "state": "own", "target": "", "method": "", "in_store": False, "origin": "", "at": None,
            "files": None, "bytes": None, "seeded_files": None, "seeded_bytes": None, "image": "", "seen_image": "",
            "diverged": False, "hidden": None, "hidden_names": [], "aside": [], "backups": 0, "replaced": [],
        }
    ]  # fmt: skip


def test_a_path_that_nobody_has_is_no_problem(site):
    found = path_of(site, "later")
    assert found["state"] == "missing" and not found["in_store"]
    assert path_of(site, "nowhere/at/all")["state"] == "missing"


def test_linked(site):
    site.seed(image=OLD)
    site.link()
    write(site.path("data/row"), "written since")
    info = seen(site, image=NEW)
    assert info.healthy and info.store["state"] == "seeded" and info.image == NEW
    found = info.paths[0]
    assert (found["state"], found["method"], found["target"]) == ("linked", "symlink", site.stored())
    assert (found["origin"], found["image"], found["seen_image"], found["in_store"]) == ("seeded", OLD, OLD, True)
    assert (found["files"], found["bytes"]) == (4, 24) and (found["seeded_files"], found["seeded_bytes"]) == (3, 11)
    assert found["at"] > 10**9 and "verified" not in found and not found["diverged"]
    assert found["hidden"] is None, "the image's are out of sight, and nothing lists them"
    assert found["aside"] == [{"path": site.path("data-initial"), "bytes": 11, "files": 3, "why": state_path.ORIGINAL}]


def test_paths_in_the_users_order_and_a_file(site):
    write(site.path("single"), "file")
    site.start("single", "data")
    info = seen(site, "single", "data")
    assert [path["path"] for path in info.paths] == [site.path("single"), site.path()]
    assert (info.paths[0]["files"], info.paths[0]["bytes"], info.healthy) == (1, 4, True)


def test_adopted(site):
    shutil.copytree(site.path(), site.stored(), symlinks=True)
    info = seen(site)
    assert info.store["state"] == "partial" and "it is not linked, though the store has it" in info.problems[0]
    site.start()
    found = path_of(site, verify=True)
    assert (found["origin"], found["verified"], found["hidden"]) == ("adopted", None, None)


def test_what_no_state_path_claims(site):
    os.makedirs(site.store + "/lost+found")
    write(site.store + "/precious", "someone's")
    os.makedirs(os.path.dirname(site.stored()) + "/old")
    info = seen(site)
    assert info.store["state"] == "foreign" and info.healthy
    assert sorted(info.store["unclaimed"]) == sorted(["precious", site.path("old")[1:]])
    assert any(line.startswith("unclaimed ") for line in info.table)


@pytest.mark.root
def test_bound(site, mounts):
    site.seed()
    write(site.path("data/newer"), "of the image")
    listed = site.list_image()
    mounts("--bind", site.image, site.image)  # unmounted lazily, it takes all mounts below it along
    site.link(method="bind")
    found = path_of(site, image_manifest=listed)
    assert (found["state"], found["method"], found["target"], found["files"]) == ("mounted", "bind", "", 3)
    assert (found["hidden"], found["hidden_names"]) == (1, ["newer"]) and path_of(site)["hidden"] is None
    run("umount", site.path())
    assert "it is not linked, though the store has it" in wrong(site)


@pytest.mark.root
def test_of_a_volume_the_mount_is_told(site, mounts):
    mounts("-t", "tmpfs", "-o", "ro,size=1M,nr_inodes=0", "named", site.store)
    store = seen(site, require_mount=True).store
    assert (store["fs_type"], store["source"], store["dies_with"], store["read_only"]) == ("tmpfs", "named", "a tmpfs", True)
    assert store["size_bytes"] == store["free_bytes"] == 1 << 20 and store["free_inodes"] is None


@pytest.mark.root
def test_the_lease_is_looked_at(site):
    site.start()
    with held_elsewhere(Container(site)):
        info = seen(site)
    assert info.store["lease"] == {"held": True, "here": False, "detail": "manager-0 on node-2 since 2026-11-24T12:00:00Z"}
    assert info.healthy and "lease     held, manager-0 on node-2 since 2026-11-24T12:00:00Z" in info.table


@pytest.mark.root
def test_the_lease_of_this_container(site, monkeypatch):
    monkeypatch.setattr(lease_plan, "keeper", lambda _systemd: lease.BY_PROCESS)
    container = Container(site)
    try:
        container.start(lease_holder="manager-0")
        site.link()
        info = seen(site)
    finally:
        container.end()
    assert info.store["lease"] == {"held": True, "here": True, "detail": "manager-0 since 2026-01-02T03:04:05Z"}


def test_a_link_that_leads_nowhere(site):
    os.rename(site.path(), site.path("data-initial"))
    os.symlink(site.stored(), site.path())
    text = wrong(site)
    assert text.startswith("{}: the store has nothing to link to at {}. ".format(site.path(), site.stored()))
    assert "move {} back".format(site.path("data-initial")) in text


def test_a_link_that_leads_elsewhere(site):
    site.start()
    os.unlink(site.path())
    os.symlink(site.path("data-initial"), site.path())
    text = wrong(site)
    assert "it is a symbolic link to {}. ".format(site.path("data-initial")) in text
    assert seen(site).paths[0]["target"] == site.path("data-initial")


def test_nothing_where_the_link_was(site):
    site.start()
    os.unlink(site.path())
    assert wrong(site).startswith(site.path() + ": nothing is there, though the store has it. Start again")


def test_a_store_whose_path_is_gone(site):
    site.start()
    shutil.rmtree(site.stored())
    text = wrong(site, verify=True)
    assert text.startswith(site.stored() + ": the record says that it was seeded with 3 files, but nothing is there. ")
    info = seen(site)
    assert (info.paths[0]["state"], info.paths[0]["in_store"], info.paths[0]["files"]) == ("linked", False, None)


def test_another_kind_in_the_store(site):
    site.start()
    shutil.rmtree(site.stored())
    write(site.stored(), "a file")
    assert "the record says that it is a directory, but a file is there" in wrong(site, verify=True)
    os.unlink(site.stored())
    os.symlink("/etc", site.stored())
    assert "the store has a symbolic link there" in wrong(site)


def test_emptied(site):
    site.start()
    shutil.rmtree(site.stored())
    os.mkdir(site.stored())
    text = wrong(site)
    assert text.startswith(site.stored() + ": it is empty; the record says that it was seeded with 3 files. ")
    write(site.stored("data/row"), "something")
    assert path_of(site)["files"] == 1


def test_of_what_was_seeded_empty_nothing_is_missed(site):
    os.mkdir(site.path("none"))
    site.start("none")
    assert path_of(site, "none")["files"] == 0


def test_diverged(site):
    site.start()
    replace_link(site)
    assert "it is not linked, though the store has it" in wrong(site)
    found = seen(site).paths[0]
    assert (found["state"], found["diverged"], found["in_store"]) == ("own", True, True)
    shutil.rmtree(site.path())
    os.rename(site.path("data-initial"), site.path())
    assert not seen(site).paths[0]["diverged"], "the original is there"


def test_what_a_start_refuses_is_a_problem_in_the_words_of_the_start(site):
    site.start()
    os.unlink(site.path())
    write(site.path(), "a file")
    with pytest.raises(LinkError) as refusal:
        site.link()
    assert wrong(site) == str(refusal.value)
    assert "it is a file, but a directory in the store" in wrong(site)


def test_what_is_kept_aside_is_counted(site):
    site.start()
    replace_link(site, "newer content")
    site.link()
    kept = path_of(site)["aside"]
    assert kept == [
        {"path": site.path("data-initial"), "bytes": 11, "files": 3, "why": state_path.ORIGINAL},
        {"path": site.path("data-initial.1"), "bytes": 13, "files": 1, "why": state_path.MAY_BE_NEWER},
    ]


def test_generations_are_counted(top):
    site = upgraded(top, "site")
    site.start_as(policy="merge")
    site.link()
    found = path_of(site)
    assert found["backups"] == 1 and (found["image"], found["seen_image"]) == (NEW, NEW)


def test_a_merge_that_did_not_come_to_its_end(top, monkeypatch):
    site = upgraded(top, "site")

    def dies(_step, _run):
        raise CopyError(site.path(), "it ends here", "Go on.")

    monkeypatch.setattr(backups.KeepOld, "execute", dies)
    with pytest.raises(CopyError):
        site.start_as(policy="merge")
    info = seen(site, verify=True)
    assert info.store["state"] == "partial" and info.paths[0]["verified"] is None
    assert info.problems[0].startswith(site.stored() + ": an earlier run began to put another tree in its place")
    monkeypatch.undo()
    site.start_as(policy="merge")
    site.link()
    assert path_of(site, verify=True)["verified"] is not None


def test_hidden_by_the_list_of_the_image(top):
    site = upgraded(top, "site")
    names = ["both2", "changed2", "deleted2", "new/deep/added2", "sub/added2", "sub/changed2", "touched2"]
    found = seen(site).paths[0]
    assert (found["hidden"], found["hidden_names"]) == (7, names), "as the image shows it"
    listed = site.list_image()
    site.start_as()
    site.link()
    found = path_of(site, image_manifest=listed)
    assert (found["hidden"], found["hidden_names"]) == (7, names)
    assert path_of(site)["hidden"] is None
    assert path_of(site, image_manifest=site.list_image())["hidden"] is None, "a list that was made after the link"
    with open(listed, "r+") as file:
        file.truncate(os.path.getsize(listed) - 10)
    assert path_of(site, image_manifest=listed)["hidden"] is None, "cut short"


def test_ten_are_named(site):
    site.seed()
    for number in range(12):
        write(site.path("data/new{:02}".format(number)), "x")
    listed = site.list_image()
    site.link()
    found = path_of(site, image_manifest=listed)
    assert (found["hidden"], len(found["hidden_names"]), found["hidden_names"][-1]) == (12, 10, "new09")


def test_what_a_program_put_there_is_not_the_images(site):
    site.start()
    replace_link(site)
    assert seen(site).paths[0]["hidden"] is None


def test_verify_counts(site):
    for name in ("large", "gone", "moded"):
        write(site.path("data/" + name), "x" * 20000)
    os.mkdir(site.path("data/hollow"))
    site.start()
    assert path_of(site, verify=True)["verified"] == {"changed": 0, "missing": 0, "added": 0}
    os.utime(site.stored("data/one"), (1, 1))
    assert path_of(site, verify=True)["verified"]["changed"] == 0, "its content is the same"
    status = os.stat(site.stored("data/sub/two"))
    write(site.stored("data/sub/two"), "sEcond")
    os.utime(site.stored("data/sub/two"), ns=(status.st_atime_ns, status.st_mtime_ns))
    os.utime(site.stored("data/large"), (1, 1))
    os.chmod(site.stored("data/moded"), 0o640)
    os.unlink(site.stored("data/gone"))
    os.rmdir(site.stored("data/hollow"))
    os.makedirs(site.stored("data/new/deep"))
    write(site.stored("data/new/deep/row"), "a row")
    assert path_of(site, verify=True)["verified"] == {"changed": 3, "missing": 1, "added": 1}
    os.chmod(site.stored("data/sub"), 0o700)
    assert path_of(site, verify=True)["verified"]["changed"] == 4


def test_owners_are_compared_by_what_the_store_calls_them(site):
    names = {"keeper": os.getuid()}
    site.seed(accounts=Accounts(names, names))
    site.link()
    assert path_of(site, verify=True)["verified"]["changed"] == 0
    os.unlink(site.books + "/owners.json")
    assert path_of(site, verify=True)["verified"]["changed"] == 5


@pytest.mark.parametrize(("number", "counted"), [(errno.ESTALE, {"changed": 5, "missing": 0, "added": 0}), (errno.ENOENT, None)])
def test_files_that_are_written_to_while_they_are_compared(site, monkeypatch, number, counted):
    site.start()

    def fails(*_entries):
        raise OSError(number, "it is on its way")

    monkeypatch.setattr(verify, "same", fails)
    assert path_of(site, verify=True)["verified"] == counted


@pytest.mark.parametrize("harm", ["gone", "cut short", "tampered", "a pipe"])
def test_a_manifest_that_is_lost(site, harm):
    write(site.path("data/large"), "x" * 20000)
    listed = site.list_image()
    site.start()
    assert path_of(site, image_manifest=listed)["hidden"] == 0
    (name,) = os.listdir(site.books + "/manifests")
    path = os.path.join(site.books, "manifests", name)
    text = read(path)
    if harm in ("gone", "a pipe"):
        os.unlink(path)
    if harm == "a pipe":
        os.mkfifo(path)
    elif harm == "cut short":
        write(path, text[: len(text) // 2])
    elif harm == "tampered":
        mtime = str(os.stat(site.stored("data/large")).st_mtime_ns)
        write(path, text.replace(mtime, "x000000000"))
    assert path_of(site, image_manifest=listed)["hidden"] is None, "of all else it is asked for by verify alone"
    found = seen(site, verify=True)
    if harm == "tampered":
        assert found.paths[0]["verified"] is None or found.paths[0]["verified"]["changed"] == 1
    else:
        assert "manifest" in wrong(site, verify=True) and found.paths[0]["verified"] is None


def test_a_database_that_lost_its_version(site):
    for name in ("data/pg", "data/pg/base/1", "data/old"):
        os.makedirs(site.path(name))
        write(site.path(name + "/PG_VERSION"), "14\n")
    site.start()
    shutil.rmtree(site.stored("data/pg/base/1"))
    shutil.rmtree(site.stored("data/old"))
    assert path_of(site)["files"] == 4, "a database that was dropped, and a cluster that another took over from"
    os.makedirs(site.stored("data/pg/base/1"))
    assert path_of(site)["files"] == 4
    os.unlink(site.stored("data/pg/PG_VERSION"))
    text = wrong(site)
    assert text.startswith(site.stored("data/pg") + ": it had a database when it was seeded, and its PG_VERSION is gone. ")


def test_a_record_that_cannot_be_read(site):
    site.start()
    write(site.books + "/record.json", "{")
    assert "the store's record is broken" in wrong(site)
    info = seen(site)
    assert info.store["state"] is None and info.paths[0]["origin"] == "" and info.paths[0]["files"] == 3
    write(site.books + "/record.json", '{"schema": 99}')
    assert seen(site).store["state"] == "newer" and "schema 99" in wrong(site)


def test_what_is_wrong_with_one_path_does_not_hide_the_others(site):
    write(site.path("file"), "x")
    site.start()
    os.unlink(site.path())
    info = seen(site, "file/below", "data")
    assert [path["state"] for path in info.paths] == ["missing", "missing"] and len(info.problems) == 2
    assert info.problems[0].startswith(site.path("file/below: ")) and info.problems[1].startswith(site.path() + ": ")


@pytest.mark.root
def test_without_privileges_it_says_as_whom(site):
    site.start()

    def as_other():
        raise AssertionError(report_status(Settings(**site._options((), {}))).problems)

    assert "Run as root (become: true)." in as_nobody(as_other)


def test_files_that_come_and_go_while_it_counts(site, monkeypatch):
    site.start()
    counts = []

    def busy(fail):
        def count(store, spec, place):
            counts.append(place)
            if len(counts) <= fail:
                os.stat(place + "/gone just now")
            return count_once(store, spec, place)

        return count

    count_once = state_path._count
    monkeypatch.setattr(state_path, "_count", busy(2))
    assert path_of(site)["files"] == 3 and len(counts) == 3
    monkeypatch.setattr(state_path, "_count", busy(100))
    assert path_of(site)["files"] is None, "and that is no problem"


def test_hostile_names_and_numbers(site):
    with contextlib.suppress(FileExistsError):
        os.mkdir(os.fsencode(site.path()) + b"/\xff\n")
    site.seed()
    write(os.fsencode(site.path()) + b"/\xff\n/new", "x")
    write(os.fsencode(site.store) + b"/\xfe", "x")
    with open(site.books + "/record.json") as file:
        record = json.load(file)
    record["paths"][site.path()]["at"] = 10**30
    write(site.books + "/record.json", json.dumps(record))
    info = seen(site, image_manifest=site.list_image())
    assert info.paths[0]["hidden_names"] == ["\\udcff\\n/new"] and info.store["unclaimed"] == ["\\udcfe"]
    assert all(line.isprintable() for line in info.table) and any("  ?  " in line for line in info.table)


def test_status_by_the_playbook(site, wanted):
    site.start()
    before = site.untouched()
    code, reported = results("status.yml", wanted, "--check", "--diff")
    info = reported["persist_info"]
    assert code == 0 and info["healthy"] and not info["changed"] and info["msg"] == "healthy" and site.untouched() == before
    assert info["paths"][0]["state"] == "linked" and "verified" not in info["paths"][0]
    assert reported["ansible.builtin.debug"]["msg"] == info["table"] and info["table"][-1] == "healthy"
    os.unlink(site.path())
    code, reported = results("status.yml", wanted)
    assert code != 0 and reported["ansible.builtin.fail"]["msg"] == reported["persist_info"]["problems"][0]
    assert "nothing is there, though the store has it" in reported["ansible.builtin.fail"]["msg"]
    assert reported["ansible.builtin.debug"]["msg"] == reported["persist_info"]["table"], "what was found is shown before"


def test_status_without_a_volume_by_the_playbook(site, wanted):
    code, reported = results("status.yml", dict(wanted, cm_persist_require_mount=True, cm_persist_image="manager:1"))
    assert code == 0 and not reported["persist_info"]["store"]["present"] and reported["persist_info"]["image"] == "manager:1"


def test_verify_by_the_playbook(site, wanted):
    site.start()
    write(site.path("data/row"), "written since")
    code, reported = results("verify.yml", wanted)
    assert code == 0 and reported["persist_info"]["paths"][0]["verified"] == {"changed": 0, "missing": 0, "added": 1}
    shutil.rmtree(site.books + "/manifests")
    code, reported = results("verify.yml", wanted)
    assert code != 0 and "manifest" in reported["ansible.builtin.fail"]["msg"]


def test_bad_input_and_profiles_by_the_playbook(site, wanted):
    code, reported = results("status.yml", dict(wanted, cm_persist_paths=["relative"]))
    assert code != 0 and reported["persist_info"]["where"] == "relative" and reported["persist_info"]["hint"]
    del wanted["cm_persist_paths"]
    code, reported = results("status.yml", dict(wanted, cm_persist_profile="onap-2018"))
    assert code == 0 and reported["persist_info"]["paths"][0]["path"] == "/var/lib/pgsql/9.5/data"
    assert play("status.yml", dict(wanted, cm_persist_profile="cloudify-99")).returncode != 0
