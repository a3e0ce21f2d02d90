# SPDX-License-Identifier: Apache-2.0
"""A path that neither the image nor the store has, each way that one may be asked for."""

import os

import pytest

from module_utils.cm_persist.errors import PathError
from tests.kill import killed_before_change
from tests.site import Site, write

from .test_bad_input import refused


def late(site, missing, name="late"):
    return {"path": site.path(name), "missing": missing}


def start(site, *entries):
    """tuple: Outcomes of seeding and linking, of "data" and these."""
    paths = [site.path(), *entries]
    return site.seed(paths=paths), site.link(paths=paths)


def test_what_is_ignored_is_not_spoken_of(site):
    for outcome in start(site, late(site, "ignore")):
        assert outcome.paths[1]["state"] == "missing" and not outcome.warnings


def test_what_is_skipped_is_spoken_of_until_it_is_there(site):
    for outcome in start(site, late(site, "skip")):
        assert outcome.paths[1]["state"] == "missing" and site.path("late") in outcome.warnings[0]
    site.fill("late")
    seeded, linked = start(site, late(site, "skip"))
    assert (seeded.paths[1]["state"], linked.paths[1]["state"]) == ("seeded", "linked")


def test_one_s_own_word_counts_more_than_the_general_one(site):
    refused(site, lambda: start(site, late(site, "fail")), site.path("late"), "neither", kind=PathError)
    assert start(site, late(site, "ignore"))[0].changed


def test_what_is_made_is_an_empty_directory_like_the_one_it_stands_in(site):
    os.chmod(site.image, 0o750)
    if not os.geteuid():
        os.chown(site.image, 1500, 1501)
    seeded, linked = start(site, late(site, "make"))
    assert (seeded.paths[1]["state"], seeded.paths[1]["files"]) == ("seeded", 0) and linked.paths[1]["state"] == "linked"
    made, above = os.stat(site.stored("late")), os.stat(site.image)
    assert (made.st_uid, made.st_gid, made.st_mode) == (above.st_uid, above.st_gid, above.st_mode)
    write(site.path("late/row"), "written by the first run")
    os.unlink(site.path("late"))  # as a new container does not have it
    seeded, linked = start(site, late(site, "make"))
    assert not seeded.changed and linked.paths[1]["state"] == "linked" and os.listdir(site.path("late")) == ["row"]


def test_what_is_there_is_copied_like_any_other(site):
    site.fill("late")
    assert start(site, late(site, "make"))[0].paths[1]["files"] == 3


def test_a_rehearsal_tells_the_same(site):
    paths = [site.path(), late(site, "make")]
    rehearsed = site.seed(paths=paths, check_mode=True), site.link(paths=paths, check_mode=True)
    done = start(site, late(site, "make"))
    for before, after in zip(rehearsed, done):
        assert [path["state"] for path in before.paths] == [path["state"] for path in after.paths]
        assert before.steps == after.steps


def test_what_has_nothing_to_stand_in_is_not_made(site):
    error = refused(site, lambda: start(site, late(site, "make", "no/late")), site.path("no/late"), "directory", kind=PathError)
    assert "ignore" in error.hint


def test_a_link_whose_content_is_lost_is_not_made_anew(site):
    start(site, late(site, "make"))
    os.rename(site.store, site.store + "-lost")
    os.mkdir(site.store)
    refused(site, lambda: site.seed(paths=[late(site, "make")]), site.path("late"), "nothing at", kind=PathError)


@pytest.mark.parametrize("again", [0, 3])
def test_killed_before_each_change_the_next_start_goes_on(top, again):
    for number in range(300):
        site = Site(os.path.join(top, str(number)))
        site.fill()
        killed = killed_before_change(number, lambda site=site: start(site, late(site, "make")))
        killed_before_change(again, lambda site=site: start(site, late(site, "make")))
        start(site, late(site, "make"))
        assert os.listdir(site.path("late")) == [] and os.path.islink(site.path("late"))
        assert not any(outcome.changed for outcome in start(site, late(site, "make")))
        if not killed:
            return
    raise AssertionError("it never came to its end")
