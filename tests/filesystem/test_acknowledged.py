# SPDX-License-Identifier: Apache-2.0
"""What an application wrote and had acknowledged is found again: sequences of runs, each of which is right by itself."""

import itertools
import os
import shutil
from types import SimpleNamespace

import pytest

from module_utils.cm_persist.errors import PathError, StoreError
from module_utils.cm_persist.host.machine import Machine
from module_utils.cm_persist.report import status
from module_utils.cm_persist.report.status import report_status
from module_utils.cm_persist.seed import seed as seeding
from module_utils.cm_persist.seed.seed import Settings
from module_utils.cm_persist.seed.unseed import Forget
from module_utils.cm_persist.store.layout import label
from module_utils.cm_persist.store.steps import WriteRecord
from tests.kill import killed_in
from tests.site import Site, read, write
from tests.tree import footprint
from tests.upgrades import FIRST, NEW, OLD, SECOND, Upgraded, entry_of, roll_back, ship, texts, upgraded

from .test_unseed import unseed


@pytest.fixture
def upgrade(tmp_path):
    """Upgraded: seeded by version 1, written to, and a new container of version 2."""
    return upgraded(str(tmp_path), "site")


def info(site):
    return report_status(status.Settings(site.store, [site.path()], require_mount=False))


def merge(site, name=NEW, **options):
    return site.start_as(name, policy="merge", **options)


def kept_texts(site, number):
    return texts(os.path.join(site.books, "backups", label(site.path()), str(number), "tree"))


@pytest.mark.parametrize("listed", [True, False])
def test_a_merge_leaves_alone_what_was_written_before_the_path_was_seeded(tmp_path, listed):
    """As of a path that is added to the list later, or of a machine: what is seeded is not what the image holds."""
    site = Upgraded(str(tmp_path / "site"))
    ship(site, FIRST)
    image_list = site.list_image() if listed else "/nowhere"
    for name in ("changed2", "removed2", "gone/only"):
        write(os.path.join(site.path(), name), "a row")
    os.unlink(site.path("data/deleted2"))
    site.start_as(OLD, image_manifest=image_list)
    ship(site, SECOND)
    merge(site, image_manifest=site.list_image() if listed else "/nowhere")
    found = texts(site.stored())
    assert "deleted2" not in found or not listed
    assert found["changed2"] == found["removed2"] == found["gone/only"] == "a row"
    assert found["changed2.cm_persist-new"] == "of two"
    assert found["sub/changed2"] == ("of two" if listed else "of one")


def test_without_a_list_a_merge_adds_and_removes_nothing(tmp_path):
    site = Upgraded(str(tmp_path / "site"))
    ship(site, FIRST)
    site.start_as(OLD, image_manifest="/nowhere")
    ship(site, SECOND)
    outcome = merge(site, image_manifest="/nowhere")
    found, change = texts(site.stored()), outcome.paths[0]["image_change"]
    assert {name: found[name] for name in FIRST} == FIRST, "nothing of it is known to be untouched"
    assert found["sub/added2"] == found["changed2.cm_persist-new"] == "of two"
    assert (change["changed"], change["removed"], change["added"]) == (0, 0, 3)
    assert not merge(site, image_manifest="/nowhere").changed


def test_what_a_merge_found_at_the_path_proves_nothing_of_an_original(upgrade):
    merge(upgrade)
    assert entry_of(upgrade)["manifest"] is None and entry_of(upgrade)["base"]


@pytest.mark.root
def test_a_tree_that_is_mounted_changes_places_with_none(upgrade, mounts):
    merge(upgrade)
    elsewhere = os.path.join(upgrade.top, "elsewhere")
    mounts("--bind", upgrade.stored(), elsewhere)
    before = footprint(upgrade.stored(), upgrade.books + "/backups")
    with pytest.raises(PathError, match="something is mounted at {}".format(elsewhere)):
        roll_back(upgrade)
    assert footprint(upgrade.stored(), upgrade.books + "/backups") == before
    ship(upgrade, dict(SECOND, changed2="of three"))
    outcome = merge(upgrade, "manager:3.0")
    assert outcome.paths[0]["state"] == "already" and "mounted at {}".format(elsewhere) in outcome.warnings[0]


@pytest.mark.root
def test_a_volume_below_a_path_in_the_store_is_not_moved_by_a_merge(upgrade, mounts):
    mounts("-t", "tmpfs", "tmpfs", upgrade.stored() + "/own")
    outcome = merge(upgrade)
    assert outcome.paths[0]["state"] == "already" and "mounted at" in outcome.warnings[0]


@pytest.mark.parametrize("difference", ["the machine is another", "times and sizes are the same"])
def test_the_only_copy_is_never_taken_out_of_the_store(site, difference):
    site.fill("other")
    site.seed("data", "other")
    if difference == "the machine is another":
        shutil.rmtree(site.path())
        os.makedirs(site.path())
        write(site.path("data/other"), "of another machine")
    else:
        status = os.stat(site.path("data/one"))
        write(site.path("data/one"), "FIRST")
        os.utime(site.path("data/one"), ns=(status.st_atime_ns, status.st_mtime_ns))
    before = site.untouched()
    with pytest.raises(PathError, match="not the same as"):
        unseed(site)
    assert site.untouched() == before


def test_what_is_kept_of_a_path_is_not_removed_with_it(upgrade):
    merge(upgrade)
    shutil.rmtree(upgrade.path())
    shutil.copytree(upgrade.stored(), upgrade.path(), symlinks=True)
    with pytest.raises(PathError, match="merges and rollbacks replaced are kept"):
        unseed(upgrade)
    assert kept_texts(upgrade, 1)["own/row"] == "a row"


def test_what_a_rollback_put_away_stays_and_its_image_is_not_merged_again(upgrade):
    merge(upgrade)
    write(upgrade.stored() + "/own/row", "a day's work")
    roll_back(upgrade)
    outcome = merge(upgrade)
    assert outcome.paths[0]["state"] == "already" and "merge_again" in outcome.warnings[0]
    assert not merge(upgrade).warnings, "said once"
    for number in (3, 4, 5):
        ship(upgrade, dict(SECOND, changed2=str(number)))
        merge(upgrade, "manager:{}".format(number), backups=1)
    assert kept_texts(upgrade, 1)["own/row"] == "a day's work"
    replaced = info(upgrade).paths[0]["replaced"]
    assert [kept["path"].split("/")[-2] for kept in replaced] == ["4", "1"]
    assert "before manager:5 was merged" in replaced[0]["why"] and "returned to manager:1.0" in replaced[1]["why"]
    kept = os.path.join(upgrade.books, "backups", label(upgrade.path()))
    assert len(os.listdir(kept)) == 2, "and one of the merges since"


def test_a_path_that_the_last_image_did_not_replace_does_not_go_back(tmp_path):
    """Image 2 merged both paths, image 3 only one of them: what was written to the other since is no part of that."""
    site = Upgraded(str(tmp_path / "site"))
    names, clock = ("data", "more"), itertools.count(10**9)

    def start(number, **versions):
        shutil.rmtree(site.image)
        for name in names:
            os.makedirs(site.path(name))
            write(site.path(name) + "/file", versions[name])
        paths = [{"path": site.path(name), "on_image_change": "merge"} for name in names]
        options = {"image": "manager:{}".format(number), "image_manifest": site.list_image(), "lease": False, "paths": paths}
        machine = Machine(clock=SimpleNamespace(time=lambda: next(clock), monotonic=lambda: 0))
        seeding.seed(Settings(**site._options(names, options)), machine=machine)

    start(1, data="1", more="1")
    start(2, data="2", more="2")
    write(site.stored("more") + "/row", "a row")
    start(3, data="3", more="2")
    both = [site.path(name) for name in names]
    outcome = roll_back(site, paths=both)
    assert [path["state"] for path in outcome.paths] == ["rolled_back", "already"] and "name it alone" in outcome.warnings[0]
    assert texts(site.stored()) == {"file": "2"} and texts(site.stored("more")) == {"file": "2", "row": "a row"}
    assert roll_back(site, paths=both[1:]).paths[0]["state"] == "rolled_back" and texts(site.stored("more")) == {"file": "1"}
    assert roll_back(site, paths=both[1:]).paths[0]["state"] == "rolled_back", "and back again"
    assert texts(site.stored("more")) == {"file": "2", "row": "a row"}


def test_a_tree_that_another_life_put_away_does_not_come_back(upgrade):
    merge(upgrade)
    roll_back(upgrade)
    record = os.path.join(upgrade.books, "record.json")
    text = read(record)
    write(record, text.replace('"at": {}'.format(entry_of(upgrade)["at"]), '"at": 7'))  # its present tree is another one
    assert "nothing is kept" in roll_back(upgrade).warnings[0]


@pytest.mark.parametrize("left", [0, 200, 400])
def test_a_list_of_the_image_that_is_cut_short_is_none(tmp_path, left):
    site = Upgraded(str(tmp_path / "site"))
    ship(site, FIRST)
    image_list = site.list_image()
    os.truncate(image_list, left)
    assert site.start_as(OLD, image_manifest=image_list).paths[0]["state"] == "seeded"
    assert not entry_of(site)["listed"]


def test_an_image_is_merged_again_where_somebody_says_so(upgrade):
    merge(upgrade)
    roll_back(upgrade)
    assert upgrade.start_as(NEW, policy="merge_again").paths[0]["state"] == "merged"
    assert not upgrade.start_as(NEW, policy="merge_again").changed


@pytest.mark.parametrize("comes_next", ["a start with another list", "a rollback"])
def test_what_was_published_is_recorded_whatever_comes_next(tmp_path, comes_next):
    site = Site(str(tmp_path / "site"))
    site.fill()
    site.fill("other")
    site.seed("other")
    assert killed_in(WriteRecord, 0, site.seed), "published, and not recorded"
    if comes_next == "a rollback":
        roll_back(site, paths=[site.path("other")])
    else:
        site.seed("other")
    assert entry_of(site)["origin"] == "seeded"


def test_what_was_taken_out_is_forgotten_whatever_comes_next(tmp_path):
    site = Site(str(tmp_path / "site"))
    site.fill()
    site.fill("other")
    site.seed("data", "other")
    assert killed_in(Forget, 0, lambda: unseed(site)), "out of the store, and still in the record"
    site.seed("other")
    write(site.path("data/row"), "written since")
    assert site.seed("data", "other").paths[0]["state"] == "seeded"
    assert read(site.stored() + "/row") == "written since"


def test_an_original_half_removed_is_not_used_because_its_path_is_no_longer_named(tmp_path, monkeypatch):
    site = Site(str(tmp_path / "site"))
    site.fill()
    site.fill("other")
    site.seed("data", "other")
    write(os.path.join(site.image, ".data.cm_persist-removal"), "{}")
    os.unlink(site.path("data/one"))
    before = site.untouched()
    with pytest.raises(PathError, match="no longer names it"):
        site.seed("other")
    assert site.untouched() == before


@pytest.mark.parametrize("shipped", [True, False])
def test_what_nothing_proves_older_is_said(site, shipped):
    shutil.copytree(site.path(), site.stored(), symlinks=True)
    if not shipped:
        shutil.rmtree(site.path())
    site.start()
    site.link(state="unlinked")
    write(site.path("data/row"), "a day's work")
    linked, kept = site.link(), site.path("data-initial.1" if shipped else "data-initial")
    assert linked.paths[0]["diverged"] and read(kept + "/row") == "a day's work"
    assert any(kept in warning for warning in linked.warnings)
    assert "nothing proves that it is older" in info(site).paths[0]["aside"][-1]["why"]


def test_names_that_the_image_lists_are_the_images(upgrade):
    for name in ("data-initial", ".data.cm_persist-removal", "data-initial.1"):
        write(os.path.join(upgrade.image, name), "shipped")
    write(upgrade.path("data/PG_VERSION"), "10")
    write(upgrade.stored() + "/PG_VERSION", "9.5")
    with pytest.raises(PathError, match="PostgreSQL 9.5, and the image has 10"):
        upgrade.start_as()


@pytest.mark.parametrize("emptied", ["all of it", "its version alone"])
def test_a_database_that_is_gone_is_refused(site, emptied):
    os.mkdir(site.path("data/9.5"))
    write(site.path("data/9.5/PG_VERSION"), "9.5")
    site.seed()
    if emptied == "all of it":
        shutil.rmtree(site.stored())
        os.mkdir(site.stored())
    else:
        os.unlink(site.stored() + "/9.5/PG_VERSION")
    before = site.untouched()
    with pytest.raises(StoreError, match="PG_VERSION is gone"):
        site.seed()
    assert site.untouched() == before


def test_a_database_that_moved_within_its_path_is_none_that_is_gone(site):
    os.mkdir(site.path("data/9.5"))
    write(site.path("data/9.5/PG_VERSION"), "9.5")
    site.seed()
    os.rename(site.stored() + "/9.5", site.stored() + "/10")
    assert not site.seed().changed


@pytest.mark.root
def test_what_an_fsgroup_widened_is_no_obstacle_where_the_manifest_is_lost(upgrade):
    shutil.rmtree(upgrade.books + "/manifests")
    os.mkdir(upgrade.books + "/manifests", 0o700)
    os.chown(upgrade.stored(), -1, 4000)
    os.chmod(upgrade.stored(), 0o2775)
    assert "manifest cannot be opened" in upgrade.told()
    assert os.stat(upgrade.stored()).st_mode & 0o7777 == 0o755


def test_a_mode_of_the_top_that_came_with_a_merge_stays(upgrade):
    os.chmod(upgrade.path(), 0o2775)
    merge(upgrade)
    assert os.stat(upgrade.stored()).st_mode & 0o7777 == 0o2775 == entry_of(upgrade)["top"]["mode"]
    assert not merge(upgrade).changed, "it is not what an fsGroup did"


@pytest.mark.root
def test_what_an_fsgroup_widened_is_untouched_and_gets_its_mode_back(upgrade):
    """The modes as kubelet leaves them: owner's permissions for the group too, and set-group-ID on directories."""
    secret = upgrade.stored() + "/touched"
    os.chmod(secret, 0o600)
    for directory, _names, files in os.walk(upgrade.stored()):
        for path in [directory, *(os.path.join(directory, name) for name in files)]:
            os.chown(path, -1, 4000)
            os.chmod(path, os.stat(path).st_mode & 0o7777 | (0o2770 if path == directory else 0o660))
    outcome = merge(upgrade)
    assert outcome.paths[0]["image_change"]["changed"] == 2, "as if nobody had touched it"
    same = os.stat(upgrade.stored() + "/same")
    assert same.st_mode & 0o7777 == 0o644 and same.st_gid == 0
    assert os.stat(upgrade.stored()).st_mode & 0o7777 == 0o755
