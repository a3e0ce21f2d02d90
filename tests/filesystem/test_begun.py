# SPDX-License-Identifier: Apache-2.0
"""A merge, a way back or a first run was killed; what comes next is something else. What was begun is completed first, as it was
meant, and then all is looked at anew: nothing of it is lost, skipped, or of a wrong owner.
"""

import bisect
import json
import os
import shutil

import pytest

from module_utils.cm_persist.errors import PathError, StoreError
from module_utils.cm_persist.fs.accounts import Accounts
from module_utils.cm_persist.host.machine import THIS_MACHINE
from module_utils.cm_persist.plan import execute
from module_utils.cm_persist.seed.seed import Settings
from module_utils.cm_persist.seed.unseed import unseed
from module_utils.cm_persist.store import steps as store_steps
from module_utils.cm_persist.store.layout import label
from module_utils.cm_persist.store.store import Store
from tests.kill import killed_before_change
from tests.site import read, write
from tests.tree import footprint, read_tree
from tests.upgrades import MERGED, NEW, OLD, SECOND, Upgraded, roll_back, ship, texts, upgraded, used

ONE, TWO = (Accounts({"root": 0, "db": number}, {"root": 0}) for number in (100, 200))
THIRD = dict(SECOND, changed2="of three")


def kept_trees(site):
    """list of dict: the trees that are kept, the newest first."""
    kept = os.path.join(site.books, "backups", label(site.path()))
    names = sorted(os.listdir(kept), key=int, reverse=True) if os.path.isdir(kept) else []
    return [read_tree(os.path.join(kept, name, "tree")) for name in names]


def killed(make, act, arrived):
    """Upgraded: a site in which an act was killed at the first change at which it had arrived somewhere."""

    def try_one(number):
        site = make(number)
        return site, killed_before_change(number, lambda: act(site))

    def there(number):
        site, killed = try_one(number)
        came = not killed or arrived(site)
        shutil.rmtree(site.top)
        return came

    site, killed = try_one(bisect.bisect_left(range(500), True, key=there))
    assert killed and arrived(site)
    return site


@pytest.fixture
def merging(tmp_path):
    """tuple: (Upgraded, dict), killed when the merged tree had just got its place; and the tree that it replaced."""
    before = {}

    def make(number):
        site = upgraded(str(tmp_path), number)
        before.update(tree=read_tree(site.stored()))
        return site

    site = killed(make, lambda site: site.start_as(policy="merge"), lambda site: texts(site.stored()) == MERGED)
    return site, before["tree"]


def test_the_next_image_is_merged_upon_the_last_and_both_trees_are_kept(merging):
    site, before = merging
    merged = read_tree(site.stored())
    ship(site, THIRD, when=1600000000)
    outcome = site.start_as("manager:3.0", policy="merge", backups=3)
    assert outcome.paths[0]["state"] == "merged" and kept_trees(site) == [merged, before]
    assert texts(site.stored())["changed2"] == "of three" and texts(site.stored())["touched"] == "by a user"
    assert "changed2.cm_persist-new" not in texts(site.stored())


def test_the_next_image_is_refused_where_that_is_asked_for(merging):
    site, before = merging
    ship(site, THIRD, when=1600000000)
    with pytest.raises(PathError, match="on_image_change is fail"):
        site.start_as("manager:3.0", policy="fail")
    assert texts(site.stored()) == MERGED and kept_trees(site) == [before]


def test_what_is_kept_gets_the_owners_numbers_too(merging):
    site, _before = merging
    shutil.rmtree(site.top)
    site = killed(
        lambda number: owned(site.top + str(number)),
        lambda site: site.start_as(policy="merge", accounts=ONE),
        lambda site: texts(site.stored()) == {"file": "of two"},
    )
    site.start_as(policy="merge", accounts=TWO)
    assert [tree[b"file"].uid for tree in [read_tree(site.stored()), *kept_trees(site)]] == [200, 200]


def owned(top):
    """Upgraded: with one file, of a user."""
    site = Upgraded(top)
    for text, name in (("of one", OLD), ("of two", NEW)):
        if os.path.exists(site.path()):
            shutil.rmtree(site.path())
        os.mkdir(site.path())
        write(site.path() + "/file", text)
        os.chown(site.path() + "/file", 100, 0)
        if name == OLD:
            site.start_as(name, accounts=ONE)
    return site


def test_a_copy_that_was_not_recorded_gets_the_owners_numbers_too(tmp_path):
    def make(number):
        site = Upgraded(str(tmp_path / str(number)))
        os.mkdir(site.path())
        write(site.path() + "/file", "x")
        os.chown(site.path() + "/file", 100, 0)
        return site

    site = killed(make, lambda site: site.start_as(OLD, accounts=ONE), lambda site: os.path.exists(site.stored()))
    assert not os.path.exists(site.books + "/record.json")
    outcome = site.start_as(accounts=TWO)
    assert os.stat(site.stored() + "/file").st_uid == 200 and outcome.paths[0]["state"] == "seeded"


def test_check_mode_says_what_is_completed_and_changes_nothing(merging):
    site, _before = merging
    before = site.untouched()
    outcome = site.start_as(policy="merge", check_mode=True)
    assert outcome.paths[0]["state"] == "merged" and outcome.steps[0].startswith("complete what an earlier run began")
    assert site.untouched() == before


def test_it_is_not_taken_out_of_the_store_meanwhile(merging):
    site, before = merging
    with pytest.raises(PathError, match="did not come to its end"):
        unseed(Settings(**site._options(("data",), {})))
    site.start_as(policy="merge")
    assert texts(site.stored()) == MERGED and kept_trees(site) == [before]


def test_a_way_back_is_not_undone_under_a_process_that_works_there(tmp_path):
    def make(number):
        site = upgraded(str(tmp_path), number)
        site.start_as(policy="merge")
        return site

    site = killed(make, roll_back, lambda site: texts(site.stored()) != MERGED)
    went_back = footprint(site.stored())
    with used(site.stored()), pytest.raises(PathError, match="in use"):
        site.start_as(policy="merge_again")
    assert footprint(site.stored()) == went_back


@pytest.mark.parametrize("backups", [0, 1])
def test_what_is_written_while_it_is_merged_is_not_left_behind(tmp_path, monkeypatch, backups):
    site = upgraded(str(tmp_path), "site")
    sync = store_steps.Sync.execute

    def late(step, run):
        sync(step, run)
        write(site.stored() + "/own/late", "late")

    monkeypatch.setattr(store_steps.Sync, "execute", late)
    with pytest.raises(PathError, match="written to while it was merged"):
        site.start_as(policy="merge", backups=backups)
    assert read(site.stored() + "/own/late") == "late" and not kept_trees(site)
    monkeypatch.undo()
    site.start_as(policy="merge", backups=backups)
    assert texts(site.stored()) == dict(MERGED, **{"own/late": "late"})


def test_a_directory_of_another_run_is_not_cleaned_up(site):
    """Whatever comes in the way of making one: what is in it is another's, and may be all that there is."""
    site.seed()
    with Store(site.store) as store:
        run = store_steps.Run(store, {}, THIS_MACHINE)
        with run.private("other-merge") as private:
            os.mkdir("precious", dir_fd=private)
        mine = store_steps.Run(store, {}, THIS_MACHINE)

        class Step:
            def describe(self):
                return "make one"

            def execute(self, run):
                with run.private("other-merge"):
                    pass

        with pytest.raises(StoreError):
            execute([Step()], mine)
    assert os.path.isdir(site.books + "/staging/other-merge/precious")


def test_owners_that_were_being_changed_are_changed_before_the_way_back(tmp_path):
    site = owned(str(tmp_path / "site"))
    site.start_as(policy="merge", accounts=ONE)
    with open(site.books + "/owners.json") as file:
        owners = json.load(file)
    write(site.books + "/owners.json", json.dumps(dict(owners, begun={"users": [[100, 200]], "groups": []})))
    assert roll_back(site).paths[0]["state"] == "rolled_back" and texts(site.stored()) == {"file": "of one"}
    assert [tree[b"file"].uid for tree in [read_tree(site.stored()), *kept_trees(site)]] == [200, 200]


def test_what_was_adopted_has_nothing_to_go_back_to(tmp_path):
    site = upgraded(str(tmp_path), "site")
    site.start_as(policy="merge")
    os.rename(site.books + "/record.json", site.top + "/record.json")
    site.start_as()
    assert roll_back(site).paths[0]["state"] == "already" and texts(site.stored()) == MERGED
