# SPDX-License-Identifier: Apache-2.0
"""A new image meets an old volume: what each policy does, and what is refused."""

import contextlib
import json
import os
import shutil
import subprocess

import pytest

from module_utils.cm_persist import rollback as rolling
from module_utils.cm_persist.accounts import Accounts
from module_utils.cm_persist.errors import PathError, StoreError
from module_utils.cm_persist.seed import Settings
from tests.kill import killed_before_change
from tests.site import Site, read, write
from tests.tree import footprint, read_tree

OLD, NEW = "manager:1.0", "manager:2.0"
# What version 1 ships; version 2 changes what is called "…2", and adds and removes.
FIRST = {
    "same": "as it was", "changed2": "of one", "touched": "of one", "touched2": "of one", "deleted2": "of one",
    "removed2": "of one", "removed-touched2": "of one", "sub/changed2": "of one", "gone/only": "of one",
    "gone-kept/mine": "of one",
}  # fmt: skip
SECOND = {
    "same": "as it was", "changed2": "of two", "touched": "of one", "touched2": "of two", "deleted2": "of two",
    "sub/changed2": "of two", "sub/added2": "of two", "new/deep/added2": "of two", "both2": "of two",
}  # fmt: skip
# What is written between the two.
WRITTEN = {
    "touched": "by a user",
    "touched2": "by a user",
    "removed-touched2": "by a user",
    "both2": "by a user",
    "own/row": "a row",
}
WRITTEN["gone-kept/own"] = "a row"
MERGED = {
    "same": "as it was", "changed2": "of two", "touched": "by a user", "touched2": "by a user",
    "touched2.cm_persist-new": "of two",
    "removed-touched2": "by a user", "sub/changed2": "of two", "sub/added2": "of two", "new/deep/added2": "of two",
    "both2": "by a user", "both2.cm_persist-new": "of two", "own/row": "a row", "gone-kept/own": "a row",
}  # fmt: skip


def ship(site, files, name="data", when=10**9):
    """Make a new container: its image has these files (dict of path to text) at a state path, and nothing else."""
    shutil.rmtree(site.image)
    for path, text in files.items():
        target = os.path.join(site.path(name), path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        write(target, text)
        os.utime(target, (when, when))


def texts(top):
    """dict: path to text of each file in a tree."""
    found = {}
    for directory, _names, files in os.walk(top):
        for name in files:
            path = os.path.join(directory, name)
            found[os.path.relpath(path, top)] = read(path)
    return found


def entry_of(site, name="data"):
    with open(site.books + "/record.json") as file:
        return json.load(file)["paths"][site.path(name)]


@contextlib.contextmanager
def used(directory):
    """A process works in a directory, which it uses thereby."""
    process = subprocess.Popen(["sleep", "60"], cwd=directory, start_new_session=True)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def roll_back(site, rehearse=False, **options):
    return rolling.roll_back(Settings(**site._options(("data",), options)), rehearse)


class Upgraded(Site):
    """A store that version 1 seeded and that was written to, and a new container of version 2."""

    policy = "keep"

    def start_as(self, name=NEW, **options):
        path = {"path": self.path(), "on_image_change": options.pop("policy", self.policy)}
        return self.seed(**dict({"image": name, "paths": [path]}, **options))

    def told(self, **options):
        return "\n".join(self.start_as(**options).warnings)


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
    assert "no longer has 4 files" in outcome.warnings[1]
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
    assert "2 files were changed on both sides" in outcome.warnings[0]
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


def test_check_mode_tells_the_same_and_changes_nothing(site):
    before = site.untouched()
    rehearsed = site.start_as(policy="merge", rehearse=True)
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
        with used(site.stored()), pytest.raises(PathError) as failure:
            site.start_as(policy="merge")
        assert "in use" in failure.value.found and footprint(site.stored()) == before
        return
    told = site.told(name=name, policy="merge")
    assert "kept as it is, not merged" in told and footprint(site.stored()) == before


def test_what_stands_there_after_a_start_is_no_image(site):
    os.rename(site.path(), site.path() + "-initial")  # as the link phase leaves it
    os.mkdir(site.path())
    write(site.path() + "/by-the-application", "x")
    before = footprint(site.stored())
    outcome = site.start_as(policy="merge")
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


def test_an_adopted_path_says_what_this_image_has_newer(site):
    shutil.rmtree(site.books)
    told = site.told(policy="merge")
    assert "this image (manager:2.0) has 5 files that the volume lacks, or has older: changed2, deleted2" in told
    ship(site, dict(SECOND, another="of three"))
    told = site.told(name="manager:3.0", policy="merge")
    assert "nobody knows what it was" in told and "hides" in told


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
    from module_utils.cm_persist import swap

    monkeypatch.setattr(swap, "rename_exchange", unavailable)
    before = read_tree(site.stored())
    site.start_as(policy="merge")
    assert texts(site.stored()) == MERGED
    roll_back(site)
    assert read_tree(site.stored()) == before


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
    assert [outcome.paths[0]["image_change"][what] for what in ("changed", "added", "beside")] == [0, 0, 0]


def upgraded(top, number):
    """Upgraded: as the fixture site, in a directory of its own."""
    site = Upgraded(os.path.join(top, str(number)))
    ship(site, FIRST, when=10**9)
    site.start_as(OLD)
    for path, text in WRITTEN.items():
        os.makedirs(os.path.dirname(os.path.join(site.stored(), path)), exist_ok=True)
        write(os.path.join(site.stored(), path), text)
    os.unlink(site.stored() + "/deleted2")
    ship(site, SECOND, when=1500000000)
    return site


@pytest.mark.parametrize("exchange", [True, False])
@pytest.mark.parametrize("act", ["merge", "roll back"])
def test_killed_before_each_change_it_is_the_old_tree_or_the_new(tmp_path, monkeypatch, act, exchange):
    from module_utils.cm_persist import swap

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
