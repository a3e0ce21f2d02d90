# SPDX-License-Identifier: Apache-2.0
"""Without a store nothing is done; unless an earlier start left a path that must not be started on."""

import os
import shutil

import pytest

from module_utils.cm_persist.errors import PathError
from tests.site import run, write

from .test_bad_input import refused

VERBS = pytest.mark.parametrize("verb", ["seed", "link"])


def take_away(site):
    os.rename(site.store, site.store + "-elsewhere")


@VERBS
def test_nothing_is_done(site, verb):
    take_away(site)
    before = site.untouched()
    outcome = getattr(site, verb)()
    assert (outcome.changed, outcome.store_state, outcome.paths) == (False, "absent", [])
    assert site.store in outcome.message and site.untouched() == before


@VERBS
def test_a_directory_without_a_mount_is_no_store(site, verb):
    outcome = getattr(site, verb)(require_mount=True)
    assert outcome.store_state == "absent" and "no volume is mounted" in outcome.message
    assert os.listdir(site.store) == []


@VERBS
def test_a_link_into_it(site, verb):
    site.start()
    take_away(site)
    refused(site, getattr(site, verb), site.path(), kind=PathError)


@VERBS
def test_an_original_that_was_set_aside(site, verb):
    site.seed()
    os.rename(site.path(), site.path("data-initial"))
    take_away(site)
    refused(site, getattr(site, verb), site.path(), kind=PathError)


@VERBS
def test_a_path_that_is_half_restored(site, verb):
    site.start()
    os.unlink(site.path())
    os.rename(site.path("data-initial"), site.path(".data.cm_persist-copy"))
    take_away(site)
    refused(site, getattr(site, verb), site.path(), "restore", kind=PathError)


@VERBS
def test_an_original_that_is_half_removed(site, verb):
    write(site.path(".data.cm_persist-removal"), "{}")
    take_away(site)
    refused(site, getattr(site, verb), site.path(), kind=PathError)


@VERBS
@pytest.mark.root
def test_a_mount_that_a_reboot_has_taken(site, mounts, verb):
    mounts("--bind", site.image, site.image)
    site.seed()
    site.link(method="bind")
    run("umount", site.path())
    take_away(site)
    refused(site, getattr(site, verb), site.path(), kind=PathError)


def test_a_required_store(site):
    take_away(site)
    refused(site, lambda: site.seed(required=True), site.store)


def test_half_removed_and_an_empty_volume(site):
    shutil.rmtree(site.path())
    write(site.path(".data.cm_persist-removal"), "{}")
    refused(site, lambda: site.seed(missing="skip"), site.path(), kind=PathError)
