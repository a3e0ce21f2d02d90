# SPDX-License-Identifier: Apache-2.0
"""Relative links that lead out of a state path: followed from the store, once the path is a link, they would lead nowhere."""

import os
import shutil

import pytest

from module_utils.cm_persist.errors import PathError
from tests.site import Site, read, write
from tests.upgrades import FIRST, NEW, SECOND, Upgraded, ship, texts

from .test_bad_input import refused


@pytest.fixture
def site(top):
    """Site: with what the links lead to."""
    made = Site(top)
    made.fill()
    made.fill("lib/modules")
    os.makedirs(made.path("data/a/b"))
    return made


def link_out(site, *links, of=None):
    for name, target in links:
        os.symlink(target, os.path.join(of or site.path(), name))


MODULES = ("a/b/modules", "../../../lib/modules")


@pytest.mark.parametrize("link", [MODULES, ("up", "../lib"), ("file", "./a/../../lib/modules/one"), ("parent", "..")])
def test_a_path_that_has_one_is_refused_and_the_remedy_works(site, link):
    link_out(site, link)
    leads_to = os.path.normpath(os.path.join(site.path(), os.path.dirname(link[0]), link[1]))
    error = refused(site, site.seed, site.path(), "{} to {}".format(link[0], leads_to), kind=PathError)
    assert "method: bind" in error.hint and "cm_persist_paths" in error.hint
    assert site.seed(paths=[{"path": site.path(), "method": "bind"}]).changed


def test_of_many_some_are_named(site):
    link_out(site, *(("link{:02}".format(number), "../lib") for number in range(30)))
    refused(site, site.seed, site.path(), "link04 to {} and 25 more".format(site.path("lib")), kind=PathError)


def test_check_mode_refuses_it_too(site):
    link_out(site, MODULES)
    refused(site, lambda: site.seed(check_mode=True), site.path(), "a/b/modules", kind=PathError)


def test_one_that_leads_into_another_state_path_leads_there_in_the_store_as_well(site):
    link_out(site, MODULES, ("again", "../data/one"))
    site.start("data", "lib/modules")
    assert read(site.path("data/a/b/modules/one")) == read(site.path("data/again")) == "first"


def test_a_state_path_of_a_like_name_is_another(site):
    link_out(site, MODULES)
    site.fill("lib/mod")
    refused(site, lambda: site.seed("data", "lib/mod"), site.path(), "a/b/modules", kind=PathError)


@pytest.mark.parametrize(
    "link",
    [("within", "a/../one"), ("deep", "a/b/../../sub/two"), ("lost", "../not/there"), ("a/b/up", "../../one"), ("dots", "..x")],
)
def test_what_stays_within_or_leads_nowhere_already_is_fine(site, link):
    link_out(site, link)
    assert site.seed().changed


def test_with_more_steps_up_than_there_are_it_leads_to_the_same_from_everywhere(site):
    link_out(site, ("shell", "../" * 40 + "bin/sh"))
    site.start()
    assert os.path.samefile(site.path("data/shell"), "/bin/sh")


def test_an_absolute_one_is_fine(site):
    link_out(site, ("modules", site.path("lib/modules")))
    site.start()
    assert read(site.path("data/modules/one")) == "first"


def test_the_default_method_is_the_one_that_counts(site):
    link_out(site, MODULES)
    refused(site, lambda: site.seed(method="symlink"), site.path(), "a/b/modules", kind=PathError)
    own = [{"path": site.path(), "method": "symlink"}]
    refused(site, lambda: site.seed(method="bind", paths=own), site.path(), "a/b/modules", kind=PathError)
    assert site.seed(method="bind").changed


def test_where_the_path_is_spelt_by_a_link_what_counts_is_the_place_that_it_leads_to(site):
    os.makedirs(site.path("deep/er"))
    shutil.move(site.path(), site.path("deep/er/data"))
    os.symlink("deep/er", site.path("short"))
    link_out(site, ("beside", "../lib"), of=site.path("deep/er/data"))
    assert site.seed("short/data").changed, "there is no deep/er/lib"


def test_one_in_what_is_to_be_adopted_is_refused(site):
    shutil.copytree(site.path(), site.stored(), symlinks=True)
    link_out(site, MODULES, ("nowhere", "../not/there"), of=site.stored())
    error = refused(site, site.seed, site.path(), "a/b/modules to " + site.path("lib/modules"), kind=PathError)
    assert "not/there" not in error.found
    assert site.seed(method="bind").paths[0]["state"] == "adopted"


@pytest.mark.parametrize("image", ["link", "nothing"])
def test_one_that_leads_nowhere_already_does_not_keep_a_store_from_being_adopted(site, image):
    """The earlier script has linked the path, or the image has nothing there: the link leads nowhere as it is."""
    shutil.move(site.path(), site.stored())
    if image == "link":
        os.symlink(site.stored(), site.path())
    link_out(site, MODULES, of=site.stored())
    assert site.seed().paths[0]["state"] == "adopted"


def test_in_a_volume_that_has_the_path_already_it_is_the_application_s(site):
    site.start()
    link_out(site, MODULES, of=site.stored())
    assert not site.seed().changed


@pytest.mark.parametrize("method, state", [("symlink", "already"), ("bind", "merged")])
def test_what_a_new_image_brings_is_not_merged_where_it_has_one(top, method, state):
    site = Upgraded(top + "/site")
    ship(site, FIRST)
    site.start_as("manager:1.0", method=method)
    ship(site, SECOND)
    os.mkdir(site.path("lib"))
    write(site.path("lib/module"), "x")
    link_out(site, ("module", "../lib/module"))
    outcome = site.start_as(NEW, policy="merge", method=method)
    assert outcome.paths[0]["state"] == state
    if method == "symlink":
        assert "not merged" in outcome.warnings[0] and "module to " + site.path("lib/module") in outcome.warnings[0]
        assert texts(site.stored()) == FIRST
