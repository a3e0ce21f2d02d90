# SPDX-License-Identifier: Apache-2.0
"""What looks like ours but may not be: nothing is concluded from it, and nothing newer is given up for it."""

import json
import os
import shutil

import pytest

from module_utils.cm_persist.errors import PersistError
from module_utils.cm_persist.fs import syscalls
from module_utils.cm_persist.link import steps as link_steps
from module_utils.cm_persist.store.steps import WriteRecord
from tests.site import read, write
from tests.tree import read_tree

from .test_bad_input import refused
from .test_overlay import container
from .test_unfinished import SimulatedError, interrupt


@pytest.fixture
def published(site, monkeypatch):
    """Site: its copy was published, and the run was killed before the record."""
    with monkeypatch.context() as patch:
        interrupt(patch, WriteRecord)
        with pytest.raises(SimulatedError):
            site.seed()
    return site


def test_another_directory_with_the_inode_of_the_copy_is_not_the_copy(published):
    shutil.rmtree(published.stored())
    os.makedirs(published.stored())
    write(published.stored("data/restored"), "half of a restore")
    # ext4 gives the number of a removed directory to the next one, often; to have it always, the test writes it into the note.
    staging = os.path.join(published.books, "staging")
    entry = os.path.join(staging, os.listdir(staging)[0], "entry.json")
    note = json.loads(read(entry))
    write(entry, json.dumps(dict(note, inode=os.lstat(published.stored()).st_ino)))
    outcome = published.seed()
    assert outcome.paths[0]["state"] == "adopted" and outcome.warnings
    assert os.listdir(published.stored()) == ["restored"]


@pytest.mark.parametrize("broken", ['{"path": []}', "{}", "[" * 5000, '{"path": "/x", "inode": 1, "mtime": 2, "entry": {}}'])
def test_a_broken_entry_in_staging_counts_as_none(published, broken):
    staging = os.path.join(published.books, "staging")
    write(os.path.join(staging, os.listdir(staging)[0], "entry.json"), broken)
    assert published.seed().paths[0]["state"] == "adopted"
    assert not published.seed().changed


@pytest.mark.root
def test_newer_content_outlives_two_kills_while_an_original_is_copied_aside(site, mounts, monkeypatch):
    """The first kill leaves a note and half an original; the second hits while what came since is copied aside."""
    site.seed()
    os.rename(site.image, os.path.join(site.top, "lower"))
    container(site, mounts)
    write(site.path("data/one"), "changed since it was seeded")

    def stop(*_arguments, **_options):
        raise SimulatedError

    with monkeypatch.context() as patch:
        patch.setattr(link_steps, "remove_original", stop)
        with pytest.raises(SimulatedError):
            site.link()
    os.unlink(site.path("data/sub/two"))  # the removal had come that far
    write(site.path("data/precious"), "written since")
    with monkeypatch.context() as patch:
        write_removal = link_steps.write_removal
        patch.setattr(link_steps, "write_removal", lambda *values: stop() if values[1] else write_removal(*values))
        with pytest.raises(SimulatedError):
            site.link()
    site.link()
    assert os.path.islink(site.path())
    kept = [os.path.join(site.image, name) for name in os.listdir(site.image) if name.startswith("data-initial")]
    assert "written since" in [read(os.path.join(path, "precious")) for path in kept if "precious" in os.listdir(path)]


def test_exdev_on_a_file_system_without_layers_discards_nothing(site, monkeypatch):
    site.seed()
    original = read_tree(site.path())
    rename = syscalls.rename_noreplace

    def quota(source, target, source_fd, target_fd):
        if source == b"data":
            raise OSError(18, "Invalid cross-device link")
        rename(source, target, source_fd, target_fd)

    monkeypatch.setattr(syscalls, "rename_noreplace", quota)
    outcome = site.link()
    assert outcome.paths[0]["original"] == "kept"
    assert read_tree(site.path("data-initial")) == original


@pytest.mark.root
def test_a_fifo_in_place_of_the_manifest_does_not_stop_the_start(site, mounts):
    site.seed()
    manifests = os.path.join(site.books, "manifests")
    manifest = os.path.join(manifests, os.listdir(manifests)[0])
    os.unlink(manifest)
    os.mkfifo(manifest)
    os.rename(site.image, os.path.join(site.top, "lower"))
    container(site, mounts)
    assert site.link().paths[0]["original"] == "kept"


def test_an_emptied_volume_with_the_directories_of_a_subpath(site):
    site.start()
    shutil.rmtree(site.store)
    os.makedirs(site.stored())
    error = refused(site, site.seed, site.path(), kind=PersistError)
    assert site.path("data-initial") in str(error)


OTHER_VOLUMES = {
    "emptied": lambda site: None,
    "with content of its own": lambda site: write(site.store + "/precious", "someone's"),
    "of another manager": lambda site: (site.fill("other"), site.seed("other")),
}


@pytest.mark.parametrize("volume", OTHER_VOLUMES)
@pytest.mark.parametrize("verb", ["seed", "link"])
def test_another_volume_under_a_container_that_is_linked(site, volume, verb):
    site.start()
    os.rename(site.store, site.store + "-elsewhere")
    os.mkdir(site.store)
    OTHER_VOLUMES[volume](site)
    if (volume, verb) == ("with content of its own", "seed"):
        where, words = site.store, ["precious"]
    else:
        where, words = site.path(), [site.path("data-initial")]
    error = refused(site, getattr(site, verb), where, *words, kind=PersistError)
    assert "Mount" in error.hint


@pytest.mark.root
@pytest.mark.parametrize("verb", ["seed", "link"])
def test_an_emptied_volume_where_the_original_was_left_to_the_image(site, mounts, verb):
    os.rename(site.image, os.path.join(site.top, "lower"))
    container(site, mounts)
    site.start()
    shutil.rmtree(site.store)
    os.mkdir(site.store)
    error = refused(site, getattr(site, verb), site.path(), kind=PersistError)
    assert "re-create the container" in error.hint


@pytest.mark.root
def test_before_a_container_is_given_up_what_it_keeps_is_named(site, mounts):
    site.fill("other")
    os.rename(site.image, os.path.join(site.top, "lower"))
    container(site, mounts)
    site.start("data", "other")
    os.unlink(site.path("other"))
    os.mkdir(site.path("other"))
    write(site.path("other/newer"), "than the store")
    site.start("data", "other")
    shutil.rmtree(site.store)
    os.mkdir(site.store)
    error = refused(site, lambda: site.seed("data", "other"), site.path(), kind=PersistError)
    assert site.path("other-initial") in error.hint and "copy out" in error.hint


def test_a_recorded_directory_that_is_empty_is_warned_of(site):
    site.start()
    shutil.rmtree(site.stored())
    os.mkdir(site.stored())
    outcome = site.seed()
    assert not outcome.changed and any(site.stored() in warning and "empty" in warning for warning in outcome.warnings)


def test_a_path_that_is_no_longer_named_is_warned_of(site):
    site.fill("other")
    site.start("data", "other")
    outcome = site.seed("other")
    assert not outcome.changed and [
        site.path() in warning and "still leads there" in warning for warning in outcome.warnings
    ] == [True]
    os.unlink(site.path())
    os.rename(site.path() + "-initial", site.path())  # as in a new container
    assert ["what stands at the path is used" in warning for warning in site.seed("other").warnings] == [True]
