# SPDX-License-Identifier: Apache-2.0
"""What a container would lose, found from a tree that plays it and the list of its image; and what in the store is nobody's."""

import importlib.util
import json
import os
import shutil
import socket
import sys
import tempfile

import pytest

from module_utils.cm_persist.errors import PathError, SpecError, StoreError
from module_utils.cm_persist.host.machine import Machine
from module_utils.cm_persist.report import image_diff
from module_utils.cm_persist.report.audit import NOT_LISTED, Settings, audit
from module_utils.cm_persist.tree import walk as tree_walk
from tests.plays import ROOT, play, results
from tests.site import as_nobody, run, write

LARGE = 20 << 10  # bytes: more than what has a digest in a list


@pytest.fixture
def site(site):
    """Site: with files next to the original, listed as its image holds them."""
    os.makedirs(site.path("etc/sub"))
    write(site.path("etc/conf"), "listen: 1\n")
    write(site.path("etc/large"), "x" * LARGE)
    write(site.path("etc/sub/gone"), "abc")
    os.symlink("conf", site.path("etc/link"))
    site.listed = site.list_image()
    return site


def audited(site, *names, mounts=None, **options):
    """Audit: of the site, with these state paths, "data" if none is given."""
    settings = {"image_manifest": site.listed, "root": site.image, "require_mount": False}
    settings.update(store=site.store, paths=[site.path(name) for name in names or ("data",)])
    return audit(Settings(**dict(settings, **options)), Machine(table=mounts))


def changes_of(site, found):
    """list of tuple: (what, path below the image, kind, bytes, files) of each change."""
    return [
        (each["what"], os.path.relpath(each["path"], site.image), each["kind"], each["bytes"], each["files"])
        for each in found.changes
    ]


def test_an_image_as_it_was_built_has_nothing_to_tell(site):
    found = audited(site)
    assert found.changes == [] and found.totals == {"added": 0, "changed": 0, "removed": 0, "files": 0, "bytes": 0}
    assert not found.changed and found.table == [found.message] and not found.asides and not found.unclaimed


def test_what_was_added_changed_and_removed_the_largest_first(site):
    write(site.path("etc/conf"), "listen: 2 and more\n")
    write(site.path("etc/sub/added"), "x" * 5000)
    os.unlink(site.path("etc/sub/gone"))
    os.unlink(site.path("etc/link"))
    os.symlink("large", site.path("etc/link"))
    os.chmod(site.path("etc/large"), 0o600)
    os.mkfifo(site.path("etc/pipe"))
    found = audited(site)
    assert changes_of(site, found) == [
        ("changed", "etc/large", "file", LARGE, 1),
        ("added", "etc/sub/added", "file", 5000, 1),
        ("changed", "etc/conf", "file", 19, 1),
        ("removed", "etc/sub/gone", "file", 3, 1),
        ("changed", "etc/link", "symbolic link", 0, 1),
        ("added", "etc/pipe", "special file", 0, 1),
    ]
    assert found.totals == {"added": 2, "changed": 3, "removed": 1, "files": 5, "bytes": LARGE + 5019}


def test_a_new_time_alone_counts_of_what_has_no_digest(site):
    for name in ("conf", "large", "sub"):
        os.utime(site.path("etc/" + name), (1, 1))
    assert changes_of(site, audited(site)) == [("changed", "etc/large", "file", LARGE, 1)]
    write(site.path("etc/conf"), "listen: 3\n")  # as long as before
    assert ("changed", "etc/conf", "file", 10, 1) in changes_of(site, audited(site))


def test_times_that_a_layer_has_rounded_are_the_same(site):
    for second in (1600000000, 1600000001):  # cut, and rounded up
        os.utime(site.path("etc/large"), ns=(0, 1600000000 * 10**9 + 700000000))
        site.list_image()
        os.utime(site.path("etc/large"), (second, second))
        assert not audited(site).changes
    os.utime(site.path("etc/large"), (1600000002, 1600000002))
    assert audited(site).changes


def test_a_new_directory_is_one_entry_with_all_that_it_holds(site):
    os.makedirs(site.path("new/a/b"))
    os.makedirs(site.path("new-2"))
    write(site.path("new/a/b/one"), "x" * 1000)
    write(site.path("new/two"), "x" * 10)
    os.link(site.path("new/two"), site.path("new/a/twin"))
    write(site.path("new-2/three"), "x")
    os.symlink("two", site.path("new/link"))
    assert changes_of(site, audited(site)) == [("added", "new", "directory", 1010, 4), ("added", "new-2", "directory", 1, 1)]


def test_so_is_one_that_was_removed_and_a_change_between_file_and_directory(site):
    shutil.rmtree(site.path("etc"))
    assert changes_of(site, audited(site)) == [("removed", "etc", "directory", LARGE + 13, 4)]
    write(site.path("etc"), "a file now")
    assert changes_of(site, audited(site)) == [("changed", "etc", "file", 10, 1)]
    site.list_image()
    os.unlink(site.path("etc"))
    os.makedirs(site.path("etc/sub"))
    write(site.path("etc/sub/file"), "within")
    assert changes_of(site, audited(site)) == [("changed", "etc", "directory", 6, 1)]


def test_a_directory_of_another_mode_is_told_and_what_is_in_it_as_well(site):
    os.chmod(site.path("etc"), 0o700)
    write(site.path("etc/sub/added"), "x")
    write(site.path("etc/sub-added"), "x")
    found = audited(site)
    assert changes_of(site, found) == [
        ("added", "etc/sub-added", "file", 1, 1),  # of the same size: by their paths
        ("added", "etc/sub/added", "file", 1, 1),
        ("changed", "etc", "directory", 0, 0),
    ]
    assert found.totals["files"] == 2


@pytest.mark.root
def test_another_owner_is_a_change(site):
    os.chown(site.path("etc/conf"), 65534, -1)
    os.chown(site.path("etc/sub"), -1, 65534)
    assert changes_of(site, audited(site)) == [("changed", "etc/conf", "file", 10, 1), ("changed", "etc/sub", "directory", 0, 0)]


def test_names_of_any_bytes_are_found_again_and_sockets_are_nothing(site):
    odd = os.fsencode(site.path("etc")) + b"/\xff \n%41"
    for name in (odd, odd + b"-2"):
        with open(name, "wb"):
            pass
    site.list_image()
    os.unlink(odd + b"-2")
    with socket.socket(socket.AF_UNIX) as answers:
        answers.bind(site.path("etc/socket"))
        (change,) = audited(site).changes
    assert change["what"] == "removed" and change["path"] == site.path("etc") + r"/\udcff \n%41-2"
    json.dumps(change)


def test_state_paths_and_what_is_next_to_them_are_left_out_and_asides_are_reported(site):
    site.start()
    write(site.path("data/newer"), "in the store")
    write(site.path(".data.cm_persist-bound"), "start")
    os.mkdir(site.path("data-initial.1"))
    write(site.path("data-initial.1/newer"), "x" * 50)
    found = audited(site)
    assert not found.changes and not found.unclaimed
    assert found.asides == [
        {"path": site.path("data-initial.1"), "bytes": 50, "files": 1},
        {"path": site.path("data-initial"), "bytes": 11, "files": 3},
    ]
    write(site.path("data-initially"), "is none")
    assert changes_of(site, audited(site)) == [("added", "data-initially", "file", 7, 1)]


def test_a_state_path_that_is_not_linked_is_told_of(site):
    site.start()
    os.unlink(site.path())
    os.mkdir(site.path())
    write(site.path("data/newer"), "than the store")
    assert ("added", "data/newer", "file", 14, 1) in changes_of(site, audited(site))


def test_links_into_the_store_are_left_out_wherever_they_are(site):
    site.start()
    os.makedirs(site.path("made/for/links"))  # and for nothing else
    os.symlink(site.stored(), site.path("made/for/links/one"))
    os.symlink("../../../store", site.path("made/for/two"))
    shutil.rmtree(site.path("etc/sub"))
    os.symlink(os.path.join(site.store, "sub"), site.path("etc/sub"))
    assert not audited(site).changes
    write(site.path("made/file"), "x")
    os.symlink(site.store + "-2", site.path("made/elsewhere"))
    assert changes_of(site, audited(site)) == [("added", "made", "directory", 1, 2)]


def test_a_store_without_a_mount_is_left_out_but_not_where_it_is_none(site):
    store = site.store = site.path("store")
    os.makedirs(store)
    site.start()
    assert audited(site).changes == []
    found = audited(site, require_mount=True)
    ((what, path, kind, _size, files),) = changes_of(site, found)
    assert (what, path, kind) == ("added", "store", "directory") and files >= 3
    assert found.table[0] == "no persistence: no volume is mounted at " + store and found.unclaimed == []


def test_what_the_list_leaves_out_by_design_is_left_out(site):
    for name in NOT_LISTED:
        os.mkdir(os.path.join(os.fsencode(site.image), name))
        write(os.path.join(site.image, os.fsdecode(name), "file"), "x")
    os.makedirs(site.path("var/tmp"))
    assert changes_of(site, audited(site)) == [("added", "var", "directory", 0, 0)]
    spec = importlib.util.spec_from_file_location("image_manifest", os.path.join(ROOT, "container", "image_manifest.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.NOT_LISTED == NOT_LISTED


def test_the_list_itself_is_left_out(site):
    shutil.copy(site.listed, site.path("etc/list"))
    site.listed = site.path("etc/list")
    assert not audited(site).changes


@pytest.mark.root
@pytest.mark.parametrize("stale", [False, True], ids=["listed", "mounted since"])
def test_mounts_are_not_looked_into(site, mounts, stale):
    os.mkdir(site.path("later"))
    mounts("-t", "tmpfs", "none", site.path("etc/sub"))  # hides etc/sub/gone
    mounts("-t", "tmpfs", "none", site.path("later/point"))
    for place in ("etc/sub", "later/point"):
        write(site.path(place + "/within"), "x" * 100)
    assert not audited(site, mounts=[] if stale else None).changes


@pytest.mark.root
def test_neither_are_binds_of_directories_and_files_of_the_same_file_system(site, mounts):
    site.fill("other")
    mounts("--bind", site.path("other"), site.path("etc/sub"))
    mounts("--bind", site.path("other/one"), site.path("etc/conf"))
    assert changes_of(site, audited(site)) == [("added", "other", "directory", 11, 3)]


@pytest.mark.root
def test_a_state_path_that_is_bound_is_left_out(site, mounts):
    site.seed()
    write(site.stored("data/newer"), "in the store")
    mounts("--bind", site.stored(), site.path())
    assert not audited(site).changes


def test_what_no_path_claims_in_the_store(site):
    site.fill("other")
    site.start("data", "other")
    os.makedirs(site.store + "/lost+found/x")
    write(site.store + "/a file", "x" * 30)
    os.makedirs(site.store + "/dropped/sub")
    for name in ("one", "sub/two"):
        write(os.path.join(site.store, "dropped", name), "x" * 20)
    assert audited(site, "data", "other").unclaimed == [
        {"path": site.store + "/dropped", "bytes": 40, "files": 2},
        {"path": site.store + "/a file", "bytes": 30, "files": 1},
    ]
    assert {"path": site.stored("other"), "bytes": 11, "files": 3} in audited(site, "data").unclaimed


def test_the_largest_are_told_and_all_are_counted(site):
    for number in range(20):
        write(site.path("etc/new{:02}".format(number)), "x" * (number // 2))
    found = audited(site, limit=3)
    assert [path for _what, path, _kind, _size, _files in changes_of(site, found)] == ["etc/new18", "etc/new19", "etc/new16"]
    assert found.totals == {"added": 20, "changed": 0, "removed": 0, "files": 20, "bytes": 90}
    assert found.table[-1] == "and 17 more" and len(found.table) == 5
    assert len(audited(site, limit=0).changes) == len(audited(site).changes) == 20
    with pytest.raises(SpecError, match="limit"):
        audited(site, limit=-1)


def test_the_table(site):
    site.start()
    os.makedirs(site.path("new"))
    write(site.path("new/file"), "x" * 1234567)
    write(site.path("etc/conf"), "x")
    write(site.store + "/junk", "x" * 30)
    assert audited(site).table == [
        "lost with the container: 1 added, 1 changed, 0 removed; 2 files, 1.2 MB",
        "  1.2 MB  added       1 file  " + site.path("new"),
        "  1 byte  changed     1 file  " + site.path("etc/conf"),
        "kept next to state paths:",
        "11 bytes  aside      3 files  " + site.path("data-initial"),
        "in the store, and claimed by no state path:",
        "30 bytes  unclaimed   1 file  " + site.store + "/junk",
    ]


def test_nothing_is_touched(site):
    site.start()
    write(site.path("etc/conf"), "other")
    os.utime(site.path("data-initial/one"), (1, 1))
    os.utime(site.path("etc/sub/gone"), (1, 1))  # whose content is read
    before = site.untouched()
    assert audited(site).changes
    assert site.untouched() == before
    shutil.rmtree(site.store)
    before = site.untouched()
    assert audited(site).table[0].startswith("no persistence: ") and site.untouched() == before


def no_list(site):
    os.unlink(site.listed)


def cut_short(site):
    os.truncate(site.listed, os.path.getsize(site.listed) - 10)


def other_format(site):
    write(site.listed, "cm_persist manifest 1\n")


def a_directory(site):
    os.unlink(site.listed)
    os.mkdir(site.listed)


@pytest.mark.parametrize("spoil", [no_list, cut_short, other_format, a_directory])
def test_without_a_list_nothing_is_told(site, spoil):
    spoil(site)
    with pytest.raises(PathError) as failure:
        audited(site)
    assert failure.value.path == site.listed and "container/build" in failure.value.hint and "list" in failure.value.found


def test_a_store_that_is_none_is_refused(site):
    os.rmdir(site.store)
    write(site.store, "a file")
    with pytest.raises(StoreError):
        audited(site)


def test_what_comes_and_goes_meanwhile_is_no_error(site, monkeypatch):
    os.mkdir(site.path("etc/going"))
    os.mkdir(site.path("etc/replaced"))
    names, lstat, line = tree_walk.list_names, tree_walk.lstat, image_diff.line

    def looked_at(name, dir_fd):
        status = lstat(name, dir_fd)
        if name == b"going":
            os.rmdir(site.path("etc/going"))
        if name == b"replaced":
            os.rmdir(site.path("etc/replaced"))
            write(site.path("etc/replaced"), "a file now")
        return status

    def compared(own, path):
        if own.path == b"etc/link":
            os.unlink(site.path("etc/link"))
        return line(own, path)

    monkeypatch.setattr(tree_walk, "list_names", lambda fd: sorted([*names(fd), b"ghost"]))
    monkeypatch.setattr(tree_walk, "lstat", looked_at)
    monkeypatch.setattr(image_diff, "line", compared)
    assert [path for _what, path, _kind, _size, _files in changes_of(site, audited(site))] == ["etc/link"]


def test_what_is_gone_when_it_is_counted_is_nothing(site):
    directory = os.open(site.image, os.O_RDONLY)
    assert image_diff.count(directory, b"gone") == (0, 0) and image_diff.count(directory, b"data") == (3, 11)
    os.close(directory)


@pytest.mark.root
def test_what_cannot_be_read_is_an_error_that_says_to_run_as_root(site):
    os.chmod(site.path("etc/sub"), 0o700)
    output = as_nobody(lambda: audited(site))
    assert output.startswith("PathError: ") and "etc/sub" in output and "Run as root" in output


def test_the_playbook_without_a_list_of_the_image(site):
    before = site.untouched()
    wanted = {"cm_persist_store": site.store, "cm_persist_paths": [site.path()], "cm_persist_require_mount": False}
    code, returned = results("audit.yml", wanted)
    failure = returned["persist_audit"]
    assert code != 0 and failure["where"] == "/opt/cm_persist/image.manifest" and "container/build" in failure["hint"]
    assert "Traceback" not in json.dumps(returned) and site.untouched() == before
    done = play("audit.yml", dict(wanted, cm_persist_profile="cloudify-99"))
    assert done.returncode != 0 and "cm_persist_profile" in done.stdout


# A mount namespace in which all of this machine but one directory lies on other mounts, and an /opt with the image's list.
NAMESPACE = """
for each in /*; do
    [ -d "$each" ] && [ ! -L "$each" ] || continue
    case $each in /dev|/proc|/run|/sys|/tmp|"$own") continue ;; esac
    mount --rbind "$each" "$each"
done
mount --bind "$top/opt" /opt
"$python" -B container/image_manifest.py /opt/cm_persist/image.manifest manager:1
echo changed and longer >"$own/etc/conf"
mkdir "$own/new"
printf 12345 >"$own/new/file"
"$python" -c 'import json, sys; from tests.plays import results; print(json.dumps([
    results("audit.yml", json.loads(sys.argv[1]), *arguments) for arguments in ([], ["--check", "--diff"])]))' "$wanted"
"""


@pytest.mark.root
def test_the_playbook_on_a_root_directory(top):
    own = tempfile.mkdtemp(prefix="cm_persist-audit-", dir="/")
    try:
        os.makedirs(os.path.join(own, "etc"))
        os.makedirs(os.path.join(top, "opt", "cm_persist"))
        store = os.path.join(top, "store")
        os.makedirs(store + own + "/data")
        write(store + "/junk", "x")
        os.symlink(store + own + "/data", own + "/data")
        write(own + "/etc/conf", "as it was")
        wanted = {"cm_persist_store": store, "cm_persist_paths": [own + "/data"], "cm_persist_require_mount": False}
        environment = dict(os.environ, own=own, top=top, python=sys.executable, wanted=json.dumps(wanted), PYTHONPATH=ROOT)
        output = run("unshare", "--mount", "sh", "-ec", NAMESPACE, env=environment, cwd=ROOT)
        (code, reported), (code_of_check, reported_in_check) = json.loads(output.splitlines()[-1])
    finally:
        shutil.rmtree(own)
    found = reported["persist_audit"]
    assert code == code_of_check == 0 and not found["changed"]
    mine = [each for each in found["changes"] if each["path"].startswith(own)]
    assert mine == [
        {"path": own + "/etc/conf", "what": "changed", "kind": "file", "bytes": 19, "files": 1},
        {"path": own + "/new", "what": "added", "kind": "directory", "bytes": 5, "files": 1},
    ]
    assert found["changes"] == mine, "nobody else writes to / itself"
    assert found["unclaimed"] == [{"path": store + "/junk", "bytes": 1, "files": 1}]
    assert reported["ansible.builtin.debug"]["msg"] == found["table"] and found["table"][0] == found["msg"]
    assert found["msg"] == "lost with the container: 1 added, 1 changed, 0 removed; 2 files, 24 bytes"
    assert {key: reported_in_check["persist_audit"][key] for key in ("changes", "totals", "table")} == {
        key: found[key] for key in ("changes", "totals", "table")
    }
