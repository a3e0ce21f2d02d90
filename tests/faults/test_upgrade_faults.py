# SPDX-License-Identifier: Apache-2.0
"""SIGKILL before each system call that lets a store follow a new image or go back, errors from each; another run completes it."""

import os
import stat

import pytest

from tests.site import run
from tests.upgrades import MERGED, texts

from .blocklog import BlockLog
from .inject import all_points
from .power import Replay, make_disk, mounted
from .test_failed_calls import one_error_each
from .test_killed_calls import kills
from .upgrade_scene import CAPABILITY, OWNERS, OWNERS_MERGED, SITUATIONS, UpgradeScene

FEW = 12  # points of each situation in a sample
POWER = 16  # and moments of a power loss


def by_label(situation):
    return situation.label


@pytest.mark.parametrize("situation", SITUATIONS, ids=by_label)
def test_killed_before_any_change(situation, top, some, side_by_side, tally):
    assert kills(situation, top, some(all_points(top, situation), FEW), side_by_side, tally) == []


@pytest.mark.parametrize("situation", SITUATIONS, ids=by_label)
def test_a_change_fails(situation, top, some, side_by_side, tally):
    assert one_error_each(situation, top, some, side_by_side, tally) == []


@pytest.mark.parametrize("situation", SITUATIONS, ids=by_label)
def test_undisturbed_it_ends_as_it_should(situation, top):
    """What the others call right is: what is written in tests/upgrades.py, and not so before the act."""
    with situation.scene(top) as scene:
        assert scene.problems_at_the_end(), "the situation is its own end"
        before = texts(scene.stored(scene.paths[0]))
        assert scene.problems_after_fault() + scene.problems_after_rerun() == []
        path, owned, file = (scene.stored(path) for path in scene.paths)
        found = {name: text for name, text in texts(path).items() if "twins" not in name and name != "link"}
        if "merge a" in situation.label:
            assert found == MERGED and os.stat(path + "/private").st_mode & 0o777 == 0o700
            assert texts(path + "/twins") == {"one": "of 2", "two": "of 2"} and os.readlink(path + "/link") == "changed2"
            assert open(file).read() == "of 2"
        else:
            assert found != MERGED and open(file).read() == "of 1"
            assert situation.goes_back == (before != texts(path))
        _check_owners(owned, *OWNERS[situation.numbers])


@pytest.mark.parametrize("kind", ["xfs", "btrfs", "tmpfs"])
def test_on_other_file_systems_it_ends_in_the_same_way(kind, file_system, tally):
    """On the first two, data is not copied but shared with the tree that is replaced."""
    point, problems, tried = file_system(kind), [], (OWNERS_MERGED, SITUATIONS[-1])
    for situation in tried:
        with situation.scene(point) as scene:
            problems += scene.problems_after_rerun()
    tally.count("merge and go back, {}".format(kind), len(tried), problems)
    assert problems == []


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs"])
def test_a_power_loss_leaves_the_old_tree_or_the_new(kind, top, mounts, full, some, tally):
    place, disk = os.path.join(top, "place"), mounts("-t", "tmpfs", "none", os.path.join(top, "ram")) + "/disk"
    os.makedirs(place + "/store")
    make_disk(kind, disk + ".base")
    run("cp", "--sparse=always", disk + ".base", disk + ".now")
    with BlockLog(disk + ".volume", disk + ".now", disk + ".log") as log:
        with mounted(kind, log.path, place + "/store"):
            scene = UpgradeScene(place + "/scene", OWNERS_MERGED, store=place + "/store")
            run("sync", "-f", scene.store)
            begun = log.position()
            started = scene.start()
            done = log.position()
            assert not started.returncode, started.stderr
        replay = Replay(disk + ".base", log.events())
    images = [image for image in replay.images(1) if image.length >= begun]
    assert any(event.data is None for event in replay.events[begun:done])
    assert any(image.length >= done for image in images) and any(image.length < done for image in images)
    tried, problems = some(images, POWER), []
    for image in tried:
        replay.build(image, disk + ".lost")
        with mounted(kind, disk + ".lost", scene.store):
            found = scene.problems_at_the_end() if image.length >= done else scene.problems_after_fault()
            problems += [(what, "{}: {}".format(image, text)) for what, text in found + scene.problems_after_rerun()]
    tally.count("power loss in {}, {}".format(OWNERS_MERGED.label, kind), len(tried), problems)
    assert problems == []


def _check_owners(owned, users, groups):
    status = {name: os.stat(os.path.join(owned, name)) for name in ("suid", "capable", "fixed", "listed", "plain", "..", ".")}
    assert {(status[name].st_uid, status[name].st_gid) for name in list(status)[:5]} == {(users["app"], groups["app"])}
    assert status["."].st_uid == users["db"] and status[".."].st_uid == users["app"]
    assert stat.S_IMODE(status["suid"].st_mode) == 0o6750
    assert os.getxattr(owned + "/capable", "security.capability") == CAPABILITY
    acl = os.getxattr(owned + "/listed", "system.posix_acl_access")
    assert [int.from_bytes(acl[at : at + 4], "little") for at in (16, 32)] == [users["app"], groups["app"]]
    with pytest.raises(PermissionError):
        os.unlink(owned + "/fixed")
