# SPDX-License-Identifier: Apache-2.0
"""On a real overlayfs, where a directory of the image cannot be renamed: rename(2) answers EXDEV."""

import errno
import os
import shutil

import pytest

from module_utils.cm_persist.link import steps as link_steps
from module_utils.cm_persist.link.steps import Discard
from module_utils.cm_persist.tree import copy_tree as copying
from tests.site import Site, read, run, write
from tests.tree import assert_same, footprint, read_tree

pytestmark = pytest.mark.root  # mounts


@pytest.fixture
def site(top, mounts):
    """Site: its image is in the lower layer of an overlay, as an image is in a container."""
    made = Site(top)
    made.fill()
    lower = os.path.join(top, "lower")
    os.rename(made.image, lower)
    container(made, mounts)
    return made


def container(site, mounts):
    layers = {name: os.path.join(site.top, name) for name in ("lower", "upper", "work")}
    for name in ("upper", "work"):
        shutil.rmtree(layers[name], ignore_errors=True)
        os.mkdir(layers[name])
    mounts("-t", "overlay", "overlay", "-o", "lowerdir={lower},upperdir={upper},workdir={work}".format(**layers), site.image)
    with pytest.raises(OSError) as refusal:
        os.rename(site.path(), site.path("probe"))
    assert refusal.value.errno == errno.EXDEV


def diverge(site):
    os.unlink(site.path())
    os.mkdir(site.path())
    write(site.path("data/newer"), "than the store")


def test_what_is_as_it_was_seeded_is_discarded(site):
    _seeded, linked = site.start()
    assert (linked.paths[0]["original"], linked.paths[0]["aside"], linked.warnings) == ("discarded", None, [])
    assert os.listdir(site.image) == ["data"] and os.readlink(site.path()) == site.stored()


def test_no_data_is_copied_to_discard_it(site):
    with open(site.top + "/lower/data/large", "wb") as file:
        file.write(os.urandom(4 << 20))
    site.start()
    upper = sum(entry.size for entry in read_tree(os.path.join(site.top, "upper")).values())
    assert upper < 4096


def test_a_restart_in_place_changes_nothing(site):
    site.start()
    before = site.untouched()
    seeded, linked = site.start()
    assert (seeded.changed, linked.changed) == (False, False) and site.untouched() == before


def test_a_new_container_from_the_image_discards_it_again(site, mounts):
    site.start()
    write(site.path("data/row"), "newer than the image")
    run("umount", site.image)
    container(site, mounts)
    seeded, linked = site.start()
    assert (seeded.changed, linked.paths[0]["original"]) == (False, "discarded")
    assert read(site.path("data/row")) == "newer than the image"


CHANGES = {
    "content": lambda path: write(path + "/one", "other text"),
    "content of the same length": lambda path: write(path + "/one", "FIRST"),
    "mode": lambda path: os.chmod(path + "/one", 0o600),
    "owner": lambda path: os.chown(path + "/sub", 70001, -1),
    "time": lambda path: os.utime(path + "/one", (1, 1)),
    "a new file": lambda path: write(path + "/sub/new", ""),
    "a file less": lambda path: os.unlink(path + "/sub/two"),
    "another link": lambda path: (os.unlink(path + "/link"), os.symlink("one", path + "/link")),
    "another type": lambda path: (os.unlink(path + "/one"), os.mkdir(path + "/one")),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changed_since_it_was_seeded_is_kept_by_a_copy(site, change):
    site.seed()
    CHANGES[change](site.path())
    changed = read_tree(site.path())
    linked = site.link()
    assert (linked.paths[0]["original"], linked.paths[0]["aside"]) == ("kept", site.path("data-initial"))
    assert read_tree(site.path("data-initial")) == changed
    assert any(site.path("data-initial") in warning for warning in linked.warnings)
    assert sorted(os.listdir(site.image)) == ["data", "data-initial"]


def test_what_was_adopted_is_kept_by_a_copy(site):
    shutil.copytree(site.path(), site.stored(), symlinks=True)
    original = read_tree(site.path())
    _seeded, linked = site.start()
    assert linked.paths[0]["original"] == "kept" and read_tree(site.path("data-initial")) == original
    assert "Containerfile" in linked.warnings[-1], "it has to say what makes the next start fast"


@pytest.fixture
def listed(site):
    """Site: its image is listed, as container/Containerfile lists it, and the store holds what an earlier tool put there."""
    shutil.copytree(site.path(), site.stored(), symlinks=True)
    write(site.stored("data/row"), "newer than the image")
    site.manifest = site.list_image()
    return site


def listed_start(site, **options):
    site.seed()
    return site.link(image_manifest=site.manifest, **options)


def size_of_upper(site):
    return sum(entry.size for entry in read_tree(os.path.join(site.top, "upper")).values())


def test_what_is_as_in_the_image_is_discarded_for_an_adopted_store_too(listed):
    linked = listed_start(listed)
    assert (linked.paths[0]["original"], linked.paths[0]["aside"], linked.warnings) == ("discarded", None, [])
    assert os.listdir(listed.image) == ["data"] and read(listed.path("data/row")) == "newer than the image"
    assert size_of_upper(listed) < 4096


def test_what_is_as_in_a_newer_image_is_discarded(site, mounts):
    site.start()
    run("umount", site.image)
    write(site.top + "/lower/data/one", "of the newer image")
    container(site, mounts)
    site.manifest = site.list_image()
    linked = listed_start(site)
    assert linked.paths[0]["original"] == "discarded" and read(site.path("data/one")) == "first"


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_no_longer_as_in_the_image_is_kept(listed, change):
    CHANGES[change](listed.path())
    changed = read_tree(listed.path())
    linked = listed_start(listed)
    assert (linked.paths[0]["original"], linked.paths[0]["diverged"]) == ("kept", True)
    assert read_tree(listed.path("data-initial")) == changed


def test_a_single_file_as_in_the_image_is_not_copied_to_discard_it(site, mounts):
    with open(site.top + "/lower/large", "wb") as file:
        file.write(os.urandom(4 << 20))
    run("umount", site.image)
    container(site, mounts)
    site.seed("large")
    linked = site.link("large", image_manifest=site.list_image())
    assert linked.paths[0]["original"] == "discarded" and os.readlink(site.path("large")) == site.stored("large")
    assert size_of_upper(site) < 4096


def test_what_changes_between_the_look_and_the_removal_is_not_removed(listed, monkeypatch):
    discard = Discard.execute

    def too_late(step, run):
        write(listed.path("data/sub/row"), "written meanwhile")
        discard(step, run)

    monkeypatch.setattr(Discard, "execute", too_late)
    linked = listed_start(listed)
    assert linked.paths[0]["original"] == "kept" and any("-initial" in warning for warning in linked.warnings)
    assert read(listed.path("data-initial/sub/row")) == "written meanwhile"


@pytest.mark.parametrize("proof", ["the image's list", "the manifest of the seed"])
@pytest.mark.parametrize("size", [1000, 100_000])
def test_a_file_with_the_listed_size_and_time_and_another_content_is_kept(site, proof, size):
    """As an archive leaves it that sets the times: nothing but the content differs, or, of a large file, when it was changed."""
    path = site.path("data/file")
    write_as_of_2001(path, "a" * size)
    image_list = site.list_image() if proof == "the image's list" else "/nowhere"
    site.seed()
    write_as_of_2001(path, "b" * size)
    linked = site.link(image_manifest=image_list)
    assert linked.paths[0]["original"] == "kept" and read(site.path("data-initial/file")) == "b" * size
    assert "file in it are as listed, and its content is another" in linked.warnings[0]


def test_a_large_file_that_nobody_changed_is_left_to_the_image(site, mounts):
    with open(site.top + "/lower/data/large", "wb") as file:
        file.write(os.urandom(100_000))
    run("umount", site.image)
    container(site, mounts)
    site.seed()
    assert site.link().paths[0]["original"] == "discarded"
    run("umount", site.image)
    container(site, mounts)
    site.seed()
    assert site.link(image_manifest=site.list_image()).paths[0]["original"] == "discarded"


def write_as_of_2001(path, text):
    write(path, text)
    os.utime(path, (10**9, 10**9))


def test_a_list_that_lacks_the_path_or_is_cut_short_proves_nothing(listed):
    listed.seed()
    with open(listed.manifest, "rb") as file:
        lines = file.read().splitlines(True)
    for broken in (lines[:1], lines[:-3], [line for line in lines if b"/data" not in line], [b"another format\n"], []):
        with open(listed.manifest, "wb") as file:
            file.writelines(broken)
        steps = listed.link(image_manifest=listed.manifest, check_mode=True).steps
        assert "copy it there" in steps[1]


def test_a_rehearsal_tells_what_the_image_proves(listed):
    before = footprint(listed.image)
    listed.seed()
    rehearsed = listed.link(image_manifest=listed.manifest, check_mode=True)
    assert footprint(listed.image) == before
    linked = listed.link(image_manifest=listed.manifest)
    assert (linked.steps, linked.paths, linked.warnings) == (rehearsed.steps, rehearsed.paths, rehearsed.warnings)
    assert "as in the image" in linked.steps[0]


def test_what_the_application_put_in_place_of_the_link_is_never_discarded(listed):
    listed_start(listed)
    diverge(listed)
    linked = listed_start(listed)
    assert linked.paths[0]["diverged"] and read(listed.path("data-initial/newer")) == "than the store"


def test_an_empty_directory_needs_no_copy(site):
    shutil.copytree(site.path(), site.stored(), symlinks=True)
    for name in ("one", "link", "sub/two"):
        os.unlink(site.path("data/" + name))
    os.rmdir(site.path("data/sub"))
    _seeded, linked = site.start()
    assert os.listdir(site.image) == ["data"] and linked.paths[0]["original"] == "discarded"


def test_a_manifest_that_is_cut_short_proves_nothing(site):
    site.seed()
    manifests = os.path.join(site.books, "manifests")
    (name,) = os.listdir(manifests)
    with open(os.path.join(manifests, name), "r+b") as file:
        file.truncate(os.path.getsize(os.path.join(manifests, name)) - 30)
    assert site.link().paths[0]["original"] == "kept"


def test_what_replaced_the_link_is_kept_and_warned_of(site):
    site.start()
    diverge(site)
    _seeded, linked = site.start()
    aside = linked.paths[0]["aside"]
    assert read(os.path.join(aside, "newer")) == "than the store"
    assert any(aside in warning for warning in linked.warnings), "content newer than the store's is hidden silently"


def test_a_rehearsal_tells_the_steps_of_the_real_start(site):
    before = footprint(site.image)
    rehearsed = site.link(check_mode=True)
    assert footprint(site.image) == before
    _seeded, linked = site.start()
    assert linked.steps == rehearsed.steps


def test_unlinked_puts_the_newest_back(site):
    site.start()
    write(site.path("data/row"), "newer than the image")
    site.link(state="unlinked")
    assert_same(site.path(), site.stored())


@pytest.mark.parametrize("changed", [False, True])
def test_an_original_that_comes_to_light_under_a_mount_is_left_to_the_image_or_kept(site, changed):
    site.seed()
    if changed:
        write(site.path("data/sub/changed"), "since it was seeded")
    original = read_tree(site.path())
    site.link(method="bind")
    write(site.path("data/row"), "newer than the image")
    outcome = site.link(method="bind", state="unlinked")
    assert_same(site.path(), site.stored())
    assert outcome.paths[0]["original"] == ("kept" if changed else "discarded")
    assert sorted(os.listdir(site.image)) == (["data", "data-initial"] if changed else ["data"])
    assert not changed or read_tree(site.path("data-initial")) == original


def half_removed(site, monkeypatch, changed):
    """Killed while the original is removed, once something of it is gone."""
    site.seed()
    if changed:
        write(site.path("data/changed"), "since it was seeded")

    def killed(image):
        os.unlink(os.path.join(image.path, "one"))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(link_steps, "remove_original", killed)
        with pytest.raises(KeyboardInterrupt):
            site.link()


@pytest.mark.parametrize("changed", [False, True])
def test_half_an_original_is_not_mounted_over(site, monkeypatch, changed):
    half_removed(site, monkeypatch, changed)
    outcome = site.link(method="bind")
    assert outcome.paths[0]["original"] == ("kept" if changed else "discarded")
    assert os.path.samefile(site.path(), site.stored())
    run("umount", site.path())
    assert os.listdir(site.path()) == []
    names = ["data", "data-initial", ".data.cm_persist-bound"] if changed else ["data", ".data.cm_persist-bound"]
    assert sorted(os.listdir(site.image)) == sorted(names)


def test_an_original_that_is_copied_aside_comes_back_though_the_removal_was_killed_and_the_store_is_lost(site, monkeypatch):
    half_removed(site, monkeypatch, changed=True)
    shutil.rmtree(site.store)
    outcome = site.link(state="unlinked", restore="aside")
    assert outcome.paths[0]["state"] == "unlinked" and read(site.path("data/one")) == "first"
    assert read(site.path("data/changed")) == "since it was seeded" and os.listdir(site.image) == ["data"]


def test_an_inode_number_that_the_kernel_gives_anew_is_no_change(top, mounts, monkeypatch):
    """Layers on two file systems, without xino: what it forgets, for lack of memory say, comes back with another number."""
    for name in ("lower", "upper"):
        mounts("-t", "tmpfs", "none", os.path.join(top, name))
    made = Site(top)
    os.makedirs(os.path.join(top, "lower", "data", "sub"))
    write(os.path.join(top, "lower", "data", "sub", "two"), "second")
    for name in ("layer", "work"):
        os.mkdir(os.path.join(top, "upper", name))
    layers = "lowerdir={0}/lower,upperdir={0}/upper/layer,workdir={0}/upper/work,xino=off".format(top)
    mounts("-t", "overlay", "overlay", "-o", layers, made.image)
    finish = copying._Copying._finish_directory
    numbers = []

    def after_a_while(copier, relative, status):
        run("mount", "-o", "remount", made.image)
        numbers.append((status.st_ino, os.stat(os.path.join(made.path(), os.fsdecode(relative))).st_ino))
        finish(copier, relative, status)

    monkeypatch.setattr(copying._Copying, "_finish_directory", after_a_while)
    assert made.seed().paths[0]["state"] == "seeded"
    assert any(then != now for then, now in numbers)
