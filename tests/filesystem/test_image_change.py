# SPDX-License-Identifier: Apache-2.0
"""A new image meets an old volume: what each policy does, and what is refused."""

import json
import os
import shutil
import struct
import sys

import pytest

from module_utils.cm_persist.errors import PathError, StoreError
from tests.site import read, run, write
from tests.tree import footprint
from tests.upgrades import FIRST, MERGED, NEW, OLD, SECOND, entry_of, ship, texts, upgraded, used


@pytest.fixture
def site(tmp_path):
    return upgraded(str(tmp_path), "site")


def test_the_same_image_with_new_times_is_no_change(site):
    ship(site, FIRST, when=1600000000)
    before = footprint(site.stored())
    outcome = site.start_as()
    assert not outcome.warnings and "image_change" in outcome.paths[0] and outcome.paths[0]["image_change"]["hidden"] == 0
    assert footprint(site.stored()) == before and entry_of(site)["image"]["name"] == NEW, "its list is this image's as well"


def test_keep_uses_the_store_and_tells_once_what_it_hides(site):
    before = footprint(site.stored())
    outcome = site.start_as()
    (warning,) = outcome.warnings[:1]
    assert "manager:1.0 to manager:2.0" in warning and "hides 7 files that it has newer: both2, changed2, deleted2" in warning
    assert "still has 4 files that the image no longer has" in outcome.warnings[1]
    assert footprint(site.stored()) == before and outcome.paths[0]["state"] == "already"
    again = site.start_as()
    assert not again.changed and not again.warnings and "image_change" not in again.paths[0]


def test_of_many_ten_are_named(site):
    ship(site, dict(SECOND, **{"many/{:02}".format(number): "x" for number in range(30)}))
    told = site.told()
    assert "hides 37 files" in told and "many/06 and 27 more" in told and "many/07" not in told


def test_fail_refuses_and_changes_nothing(site):
    before = site.untouched()
    with pytest.raises(PathError) as failure:
        site.start_as(policy="fail")
    assert "manager:1.0 to manager:2.0" in failure.value.found and "both2" in failure.value.found
    assert "Start manager:1.0" in failure.value.hint and site.untouched() == before
    assert site.start_as(OLD, policy="fail").paths[0]["state"] == "already"


def test_fail_passes_where_the_path_is_the_same(site):
    ship(site, FIRST, when=1600000000)
    assert site.start_as(policy="fail").paths[0]["state"] == "already"


def test_merge_follows_the_image_and_keeps_what_was_written(site):
    outcome = site.start_as(policy="merge")
    assert texts(site.stored()) == MERGED
    assert not os.path.lexists(site.stored() + "/gone") and os.path.isdir(site.stored() + "/gone-kept")
    change = outcome.paths[0]["image_change"]
    assert outcome.paths[0]["state"] == "merged" and change["names"] == ["both2", "touched2"]
    assert [change[what] for what in ("changed", "added", "removed", "beside")] == [2, 2, 3, 2]
    assert "2 files changed on both sides" in outcome.warnings[0]
    entry = entry_of(site)
    assert (entry["image"]["name"], entry["seen"]["name"]) == (NEW, NEW)
    assert (entry["files"], entry["bytes"]) == (len(MERGED), sum(map(len, MERGED.values())))
    again = site.start_as(policy="merge")
    assert not again.changed and not again.warnings


def test_after_keep_on_the_same_image_a_merge_is_still_made(site):
    site.start_as()
    assert site.start_as(policy="merge").paths[0]["state"] == "merged" and texts(site.stored()) == MERGED


def test_the_next_merge_is_against_the_image_that_was_merged_last(site):
    site.start_as(policy="merge")
    third = dict(SECOND, changed2="of three", touched2="of three", same="of three")
    del third["sub/added2"]
    ship(site, third, when=1700000000)
    site.start_as("manager:3.0", policy="merge")
    expected = dict(MERGED, **{"changed2": "of three", "touched2.cm_persist-new": "of three", "same": "of three"})
    del expected["sub/added2"]
    assert texts(site.stored()) == expected, "what was deleted stays deleted, and what lies beside is the newest"


def test_what_was_written_beside_is_not_lost_with_the_next_merge(site):
    site.start_as(policy="merge")
    write(site.stored() + "/touched2.cm_persist-new", "merged by hand")
    ship(site, dict(SECOND, touched2="of three", both2="of three"), when=1600000000)
    site.start_as("manager:3.0", policy="merge", backups=0)
    found = texts(site.stored())
    assert found["touched2.cm_persist-new"] == found["both2.cm_persist-new"] == "of three"
    assert found["touched2.cm_persist-new.1"] == "merged by hand" and "both2.cm_persist-new.1" not in found


@pytest.mark.root
def test_what_has_got_attributes_has_been_touched(site):
    for name in ("changed2", "removed2", "sub/changed2"):
        os.setxattr(os.path.join(site.stored(), name), "user.note", b"mine")
    acl = b"".join(struct.pack("<HHI", *entry) for entry in ((1, 6, -1 & 0xFFFFFFFF), (2, 4, 7), (4, 4, -1 & 0xFFFFFFFF)))
    acl += b"".join(struct.pack("<HHI", tag, 4, 0xFFFFFFFF) for tag in (0x10, 0x20))
    os.setxattr(site.stored() + "/gone/only", "system.posix_acl_access", struct.pack("<I", 2) + acl)
    os.setxattr(site.path() + "/sub/changed2", "user.note", b"the image's own")
    site.start_as(policy="merge")
    found = texts(site.stored())
    assert found["changed2"] == found["removed2"] == found["gone/only"] == "of one"
    assert found["changed2.cm_persist-new"] == found["sub/changed2"] == "of two"
    assert os.getxattr(site.stored() + "/changed2", "user.note") == b"mine"


def test_check_mode_tells_the_same_and_changes_nothing(site):
    before = site.untouched()
    rehearsed = site.start_as(policy="merge", check_mode=True)
    assert site.untouched() == before
    done = site.start_as(policy="merge")
    assert rehearsed.steps == done.steps and rehearsed.paths[0]["image_change"] == done.paths[0]["image_change"]


def test_metadata_hard_links_and_types_follow(site):
    ship(site, dict(FIRST), when=10**9)
    top = site.path()
    shutil.rmtree(top)
    shutil.rmtree(site.store)
    os.mkdir(site.store)
    os.makedirs(top)
    for name in ("mode", "owner", "to-directory", "to-link", "one", "touched-to-directory"):
        write(top + "/" + name, "x" * 7)
    os.mkdir(top + "/directory")
    os.mkdir(top + "/user-made-it-a-file")
    os.symlink("mode", top + "/link")
    site.start_as(OLD)
    os.rmdir(site.stored() + "/user-made-it-a-file")
    write(site.stored() + "/user-made-it-a-file", "mine")
    write(site.stored() + "/touched-to-directory", "mine")
    shipped = {"mode": "x" * 7, "owner": "x" * 7, "to-directory/below": "new", "one": "y" * 7, "user-made-it-a-file/below": "new"}
    ship(site, dict(shipped, **{"touched-to-directory/be/low": "new"}))
    os.link(top + "/one", top + "/other")
    os.chmod(top + "/mode", 0o4750)
    os.chown(top + "/owner", 7, 8)
    os.symlink("one", top + "/to-link")
    os.symlink("owner", top + "/link")
    os.mkdir(top + "/directory", 0o700)
    site.start_as(policy="merge")
    new = site.stored()
    assert os.stat(new + "/mode").st_mode & 0o7777 == 0o4750 and os.stat(new + "/directory").st_mode & 0o7777 == 0o700
    assert (os.stat(new + "/owner").st_uid, os.stat(new + "/owner").st_gid) == (7, 8)
    assert os.readlink(new + "/link") == "owner" and os.readlink(new + "/to-link") == "one"
    assert read(new + "/to-directory/below") == "new" and os.stat(new + "/one").st_ino == os.stat(new + "/other").st_ino
    assert read(new + "/user-made-it-a-file") == "mine"
    assert read(new + "/touched-to-directory") == "mine"
    assert read(new + "/touched-to-directory.cm_persist-new/be/low") == "new"


@pytest.mark.parametrize("marker", ["PG_VERSION", "sub/ibdata1", "deep/er/schema.DAT"])
def test_a_database_is_never_merged(site, marker):
    os.makedirs(os.path.dirname(site.stored() + "/" + marker), exist_ok=True)
    write(site.stored() + "/" + marker, "9.5")
    before = footprint(site.stored())
    site.start_as(policy="keep")
    told = site.told(policy="merge")
    assert "holds a database ({})".format(marker) in told and "hides 7 files" in told and footprint(site.stored()) == before
    again = site.start_as(policy="merge")
    assert not again.changed and not again.warnings, "said once"


@pytest.mark.parametrize("why", ["not named", "empty", "in use", "manifest lost", "a file"])
def test_where_a_merge_is_not_safe_it_is_kept_or_refused(site, why):
    before, name = footprint(site.stored()), NEW
    if why == "not named":
        name = ""
    elif why == "empty":
        shutil.rmtree(site.path())
        os.mkdir(site.path())
    elif why == "manifest lost":
        shutil.rmtree(site.books + "/manifests")
    elif why == "a file":
        shutil.rmtree(site.path())
        write(site.path(), "a file")
    elif why == "in use":
        untouched = site.untouched()
        with used(site.stored()), pytest.raises(PathError) as failure:
            site.start_as(policy="merge")
        assert "in use" in failure.value.found and site.untouched() == untouched, "refused before anything is built"
        return
    told = site.told(name=name, policy="merge")
    assert "kept as it is, not merged" in told and footprint(site.stored()) == before


def test_what_stands_there_after_a_start_is_no_image(site):
    os.rename(site.path(), site.path() + "-initial")  # as the link phase leaves it
    os.mkdir(site.path())
    write(site.path() + "/by-the-application", "x")
    before = footprint(site.stored())
    outcome = site.start_as(policy="merge", image_manifest="/nowhere")
    assert not outcome.changed and footprint(site.stored()) == before


def test_without_a_name_an_image_is_told_by_its_first_level(site):
    shutil.rmtree(site.store)
    os.mkdir(site.store)
    ship(site, FIRST)
    site.start_as("")
    assert not site.start_as("").changed
    ship(site, FIRST, when=10**9 + 5)
    outcome = site.start_as("")
    assert outcome.changed and not outcome.warnings, "looked at, and found to be the same"
    ship(site, SECOND)
    assert "hides 7 files" in site.told(name="")


def test_a_listed_image_needs_no_name(site):
    manifest = site.list_image()
    told = site.told(name="", image_manifest=manifest)
    assert "hides 7 files" in told and "to image " in told
    assert not site.start_as("", image_manifest=manifest).changed


@pytest.mark.parametrize(
    ("name", "refused"),
    [("manager:0.9", True), ("manager:1", False), ("manager:1.0.1", False), ("other:0.9", False), ("manager:latest", False)],
)
def test_an_older_image_is_refused(site, name, refused):
    if not refused:
        assert site.start_as(name)
        return
    before = site.untouched()
    with pytest.raises(StoreError) as failure:
        site.start_as(name)
    assert "manager:1.0" in failure.value.found and name in failure.value.found and site.untouched() == before
    assert "cm_persist_allow_downgrade" in failure.value.hint
    assert site.start_as(name, allow_downgrade=True).changed


@pytest.mark.parametrize("adopted", [False, True])
def test_another_version_of_postgresql_is_refused(site, adopted):
    ship(site, {"base/1/PG_VERSION": "14", "PG_VERSION": "14"})
    write(site.stored() + "/PG_VERSION", "9.5")
    if adopted:
        shutil.rmtree(site.books)
    before = site.untouched()
    with pytest.raises(PathError) as failure:
        site.start_as()
    assert "PostgreSQL 9.5" in failure.value.found and "14" in failure.value.found and site.untouched() == before
    write(site.path() + "/PG_VERSION", "9.5")
    assert site.start_as()


@pytest.mark.parametrize("where", ["lib/pgsql/9.5/data", "one/deep/er/than/that/data"])
def test_another_version_is_refused_at_any_depth_and_beside_another_database(site, where):
    for top, version in ((site.stored(), "9.5"), (site.path(), "14")):
        for name, of in (("small", "12"), (where, version)):
            os.makedirs(os.path.join(top, name))
            write(os.path.join(top, name, "PG_VERSION"), of)
    before = site.untouched()
    with pytest.raises(PathError) as failure:
        site.start_as()
    assert failure.value.path == os.path.join(site.stored(), where) and site.untouched() == before
    assert "PostgreSQL 9.5" in failure.value.found and "has 14 at " + os.path.join(site.path(), where) in failure.value.found


@pytest.mark.parametrize("version, accepted", [("12", True), ("14", False)])
def test_one_more_database_needs_a_version_that_the_store_has(site, version, accepted):
    for top, name, of in (
        (site.stored(), "a", "9.5"), (site.stored(), "b/c", "12"), (site.path(), "a", "9.5"), (site.path(), "d/e/f", version)
    ):  # fmt: skip
        os.makedirs(os.path.join(top, name))
        write(os.path.join(top, name, "PG_VERSION"), of)
    if accepted:
        assert site.start_as().paths[0]["state"] == "already"
        return
    with pytest.raises(PathError, match="PostgreSQL 9.5, and the image has 14"):
        site.start_as()


def test_an_adopted_path_says_what_this_image_has_newer(site):
    shutil.rmtree(site.books)
    told = site.told(policy="merge")
    assert "this image (manager:2.0) has 5 files that the volume lacks, or has older: changed2, deleted2" in told
    ship(site, dict(SECOND, another="of three"))
    told = site.told(name="manager:3.0", policy="merge")
    assert "nobody knows what it was" in told and "hides" in told


def test_a_path_that_a_new_image_leaves_as_it_was_is_not_copied(site):
    ship(site, FIRST, when=1600000000)
    before = footprint(site.stored())
    outcome = site.start_as(policy="merge")
    assert outcome.paths[0]["state"] == "already" and footprint(site.stored()) == before
    assert entry_of(site)["image"]["name"] == NEW and not site.start_as(policy="merge").changed
    ship(site, dict(FIRST, changed2="of three"), when=1700000000)
    site.start_as("manager:3.0", policy="merge")
    assert texts(site.stored())["changed2"] == "of three"


def test_a_change_that_was_made_by_hand_before_the_image_had_it_is_followed_from_then_on(site):
    ship(site, dict(FIRST, touched="by a user"))
    site.start_as(policy="merge")
    ship(site, dict(FIRST, touched="of three"))
    site.start_as("manager:3.0", policy="merge")
    assert texts(site.stored())["touched"] == "of three"


def test_whether_the_image_has_changed_is_told_without_a_walk(site):
    """The calls that name anything in image or store are the same few for 10 files as for 1,000."""
    counts = []
    for number in (10, 1000):
        shutil.rmtree(site.store)
        os.mkdir(site.store)
        ship(site, {"some/{:04}".format(each): "x" for each in range(number)})
        site.start_as()
        assert not site.start_as().changed
        counts.append(calls_of_a_start(site))
        assert "some/0001" not in "".join(counts[-1])
    assert len(counts[0]) == len(counts[1]) > 10


def calls_of_a_start(site):
    """list of str: the system calls of one more start that name something below the site, as strace writes them."""
    log = os.path.join(site.top, "strace.log")
    acts = json.dumps([["seed", {"image": NEW, "paths": [{"path": site.path(), "on_image_change": "merge"}]}]])
    start = os.path.join(os.path.dirname(__file__), "..", "faults", "start.py")
    command = ["strace", "-qq", "-f", "-y", "-o", log, sys.executable, "-B", start, site.store, site.path()]
    told = json.loads(run(*command, env=dict(os.environ, ACTS=acts, LEASE="0")))
    assert not told["seed"]["changed"]
    with open(log, errors="replace") as lines:
        return [line for line in lines if site.top in line]
