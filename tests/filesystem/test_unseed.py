# SPDX-License-Identifier: Apache-2.0
"""Taking paths out of the store again: never what may be all that there is of them."""

import os
import shutil
import subprocess
import sys

import pytest

from module_utils.cm_persist.errors import PathError, StoreError
from module_utils.cm_persist.seed import unseed as unseeding
from module_utils.cm_persist.seed.seed import Settings
from tests.kill import killed_before_change
from tests.leases import Container, held_elsewhere
from tests.site import Site, run, write
from tests.tree import footprint, read_tree

from .test_bad_input import refused


def unseed(site, *names, check_mode=False, **options):
    return unseeding.unseed(Settings(**site._options(names, options)), check_mode)


@pytest.fixture
def seeded(site):
    """Site: with two paths in the store, and originals."""
    site.fill("other")
    site.original = read_tree(site.path())
    site.seed("data", "other")
    return site


def test_the_store_forgets_it_and_keeps_the_rest(seeded):
    image, other = footprint(seeded.image), footprint(seeded.stored("other"))
    outcome = unseed(seeded)
    assert outcome.changed and outcome.paths[0]["state"] == "unseeded"
    assert footprint(seeded.image) == image and footprint(seeded.stored("other")) == other
    assert not os.path.lexists(seeded.stored()) and "staging" not in os.listdir(seeded.books)
    assert len(os.listdir(seeded.books + "/manifests")) == 1


def test_it_is_seeded_anew_with_what_is_there_by_then(seeded):
    unseed(seeded)
    write(seeded.path("data/row"), "written since")
    states = [path["state"] for path in seeded.seed("data", "other").paths]
    assert states == ["seeded", "already"] and read_tree(seeded.stored()) == read_tree(seeded.path())


def test_a_second_time_changes_nothing(seeded):
    unseed(seeded)
    before = seeded.untouched()
    outcome = unseed(seeded)
    assert (outcome.changed, outcome.paths[0]["state"]) == (False, "missing") and seeded.untouched() == before


def test_check_mode_changes_nothing_and_tells_the_same(seeded):
    before = seeded.untouched()
    rehearsed = unseed(seeded, check_mode=True)
    assert seeded.untouched() == before and rehearsed.steps == unseed(seeded).steps


def test_a_file_is_taken_out_like_a_directory(site):
    write(site.path("data/file"), "state")
    site.seed("data/file")
    assert unseed(site, "data/file").changed and not os.path.lexists(site.stored("data/file"))


@pytest.mark.parametrize(
    "state", ["linked", "nothing", "empty", "another type", "a link elsewhere", "half removed", "under a mount"]
)
def test_what_may_be_all_that_there_is_stays(seeded, state):
    if state == "linked":
        seeded.link()
        shutil.rmtree(seeded.path() + "-initial")
    elif state == "half removed":
        write(os.path.join(seeded.image, ".data.cm_persist-removal"), "")
    elif state == "under a mount":
        write(os.path.join(seeded.image, ".data.cm_persist-bound"), "start")
    else:
        shutil.rmtree(seeded.path())
        if state == "empty":
            os.mkdir(seeded.path())
        elif state == "another type":
            write(seeded.path(), "")
        elif state == "a link elsewhere":
            os.symlink("/nowhere", seeded.path())
    error = refused(seeded, lambda: unseed(seeded), seeded.path(), "may be all that there is", kind=PathError)
    assert "restore.yml" in error.hint


def test_what_was_written_to_the_store_since_stays(seeded):
    # As when the path was linked for a while, and a new container has the image's content at it again.
    write(seeded.stored("data/row"), "months of data")
    error = refused(seeded, lambda: unseed(seeded), seeded.stored(), "not the same", kind=PathError)
    assert "newer" in error.hint


def test_what_stands_at_the_path_as_well_is_no_loss(seeded):
    seeded.link()
    write(seeded.path("data/row"), "written while it was linked")
    seeded.link(state="unlinked")
    assert unseed(seeded).paths[0]["state"] == "unseeded" and os.path.exists(seeded.path("data/row"))


@pytest.mark.root
def test_a_path_that_the_store_is_mounted_over_stays(seeded, mounts):
    mounts("--bind", seeded.stored(), seeded.path())
    refused(seeded, lambda: unseed(seeded), seeded.path(), "own copy", kind=PathError)


def test_what_an_earlier_tool_has_put_there_stays(site):
    shutil.copytree(site.path(), site.stored(), symlinks=True)
    refused(site, lambda: unseed(site), site.stored(), "has not put it there", kind=StoreError)
    site.seed()
    refused(site, lambda: unseed(site), site.stored(), "an earlier tool", kind=StoreError)


def test_one_refusal_is_one_for_all(seeded):
    seeded.link("other")
    refused(seeded, lambda: unseed(seeded, "data", "other"), seeded.path("other"), "all that there is", kind=PathError)


def test_what_is_in_use_in_the_store_stays(seeded):
    look = "import sys; file = open(sys.argv[1]); print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", look, seeded.stored("data/one")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        refused(seeded, lambda: unseed(seeded), seeded.stored(), "process {}".format(process.pid), kind=PathError)
        process.stdin.close()


def test_a_store_that_another_manager_uses_stays(seeded):
    with held_elsewhere(Container(seeded)):
        assert not unseed(seeded, "nothing").changed  # nor is there anything to refuse
        refused(seeded, lambda: unseed(seeded), seeded.books + "/lease", "another manager", kind=StoreError)


@pytest.mark.root
def test_a_read_only_store_stays(seeded, mounts):
    mounts("--bind", seeded.store, seeded.store)
    run("mount", "-o", "remount,bind,ro", seeded.store)
    refused(seeded, lambda: unseed(seeded), seeded.store, "read-only", kind=StoreError)


def test_without_a_store_it_is_an_error(site):
    os.rmdir(site.store)
    with pytest.raises(StoreError, match="there is no store"):
        unseed(site)


@pytest.mark.parametrize("next_run", ["the same", "a start"])
def test_killed_before_each_change_another_run_goes_on(top, next_run):
    for number in range(200):
        site = Site(os.path.join(top, str(number)))
        site.fill()
        site.fill("other")
        original = read_tree(site.path())
        site.seed("data", "other")
        killed = killed_before_change(number, lambda site=site: unseed(site))
        assert read_tree(site.path()) == original
        if next_run == "the same":
            unseed(site)
            assert not os.path.lexists(site.stored())
        write(site.path("data/row"), "written since")
        outcome = site.seed("data", "other")
        if next_run == "the same" or outcome.paths[0]["state"] == "seeded":
            assert read_tree(site.stored()) == read_tree(site.path())
        else:  # nothing of it was done yet, or all
            assert outcome.paths[0]["state"] == "already" and read_tree(site.stored()) == original
        assert "staging" not in os.listdir(site.books) and not site.seed("data", "other").changed
        if not killed:
            assert number > 8
            return
    raise AssertionError("it never came to its end")


def test_a_copy_that_was_published_and_not_recorded_is_never_adopted(top):
    # Its note in staging has to outlive its name: without it the next start would take it for an earlier tool's.
    published = 0
    for number in range(200):
        for attempt in range(200):
            site = Site(os.path.join(top, "{}-{}".format(number, attempt)))
            site.fill()
            assert killed_before_change(published, site.seed)
            if os.path.lexists(site.stored()):
                break
            published += 1
        assert not os.path.exists(site.books + "/record.json")
        killed = killed_before_change(number, lambda site=site: unseed(site))
        assert site.seed().paths[0]["state"] in ("seeded", "already")
        assert read_tree(site.stored()) == read_tree(site.path())
        if not killed:
            return
    raise AssertionError("it never came to its end")


def test_a_start_killed_in_what_follows_does_not_strand(top):
    # The unseeding is killed before the record forgets the path, then the start before each of its changes.
    withdrawn = 0
    for number in range(200):
        site = Site(os.path.join(top, str(number)))
        site.fill()
        site.seed()
        withdrawn = withdraw(site, withdrawn)
        killed = killed_before_change(number, site.seed)
        assert site.seed().paths[0]["state"] in ("seeded", "already")
        assert read_tree(site.stored()) == read_tree(site.path())
        if not killed:
            return
    raise AssertionError("it never came to its end")


def withdraw(site, number):
    """int: the change before which a run was killed, at once when the path is out of the store, and still in the record; number
    is from where to try."""
    while os.path.lexists(site.stored()):
        assert killed_before_change(number, lambda: unseed(site))
        number += 1
    return max(number - 1, 0)
