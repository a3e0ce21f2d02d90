# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the fault suite: what a full run tries and what a sample of it, file systems of every kind, the tally."""

import os
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.site import is_mounted, run

from .mutants import MUTANTS
from .tally import Tally

SAMPLE_MUTANTS, FEW_MUTANTS = 30, 4  # in a run of all tests that is not full, and in one of few points
TALLY = pytest.StashKey()
MEMORY = "/dev/shm"


def pytest_addoption(parser):
    publish = "write what was tried into this directory's README: a whole new table, or the rows of these tests alone"
    parser.addoption("--publish", choices=["table", "rows"], help=publish)
    parser.addoption("--full", action="store_true", help="every point and image; without it an even sample of them")
    parser.addoption("--few", action="store_true", help="a sample of that sample, for a run before each commit")


def pytest_configure(config):
    config.stash[TALLY] = Tally()


@pytest.hookimpl(trylast=True)  # after -k, which may ask for others than the sample has
def pytest_collection_modifyitems(config, items):
    for item in items:
        if "tests/faults/" in item.nodeid:
            item.add_marker(pytest.mark.root)  # mounts, loop devices, ptrace
    mutants = [item for item in items if "mutant" in getattr(item, "fixturenames", ())]
    if len(mutants) == len(MUTANTS) and not config.getoption("full"):
        left = set(mutants) - set(evenly(mutants, FEW_MUTANTS if config.getoption("few") else SAMPLE_MUTANTS))
        config.hook.pytest_deselected(items=sorted(left, key=lambda item: item.nodeid))
        items[:] = [item for item in items if item not in left]


def pytest_terminal_summary(terminalreporter, exitstatus, config):
    tally = config.stash[TALLY]
    if config.getoption("publish"):
        tally.publish(keep=config.getoption("publish") == "rows")
    if tally.rows:
        terminalreporter.section("what was tried")
        terminalreporter.write_line(tally.table())


@pytest.fixture(scope="session")
def tally(request):
    """Tally: of this run."""
    return request.config.stash[TALLY]


@pytest.fixture(scope="session")
def full(request):
    """bool: whether everything is to be tried."""
    return request.config.getoption("full")


@pytest.fixture(scope="session")
def some(full, request):
    """A function of a list and a number: the whole list in a full run, otherwise that many, evenly spread; or a fifth of that."""
    part = 5 if request.config.getoption("few") else 1
    return lambda points, most: list(points) if full else evenly(points, max(2, most // part))


def evenly(points, most):
    """list: so many of them (int), or all where there are no more, from the first to the last."""
    if len(points) <= most:
        return list(points)
    return [points[index * (len(points) - 1) // (most - 1)] for index in range(most)]


@pytest.fixture(scope="session")
def side_by_side():
    """callable: takes a function and a list of arguments; gives the results in order, using all processors.

    The functions wait for processes of their own most of the time, so threads do.
    """

    def every(function, arguments):
        with ThreadPoolExecutor(len(os.sched_getaffinity(0)) + 1) as threads:
            return list(threads.map(function, arguments))

    return every


@pytest.fixture(scope="session")
def scratch():
    """str: a directory on an ext4 of the suite's own, in memory where there is room.

    Every start syncs the whole file system of its store: on one that it shares it would wait for everybody's data.
    """
    room = os.statvfs(MEMORY) if os.path.isdir(MEMORY) else None
    roomy = room is not None and room.f_bavail * room.f_frsize > 4 << 30
    backing = tempfile.mkdtemp(prefix="cm_persist-", dir=MEMORY if roomy else None)
    point = os.path.join(backing, "scratch")
    os.mkdir(point, 0o755)
    run("truncate", "--size", "16G", backing + "/ext4")
    run("mkfs.ext4", "-q", "-F", "-E", "nodiscard", backing + "/ext4")
    run("mount", "-o", "loop,noinit_itable", backing + "/ext4", point)
    assert is_mounted(point)
    os.chmod(backing, 0o755)
    yield point
    run("umount", "--lazy", point)
    shutil.rmtree(backing)


@pytest.fixture
def top(scratch):
    """str: a scratch directory of one test."""
    path = tempfile.mkdtemp(dir=scratch)
    os.chmod(path, 0o755)
    yield path
    subprocess.run(["chattr", "-R", "-ia", path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    shutil.rmtree(path)


SIZES = {"ext4": "32M", "xfs": "320M", "btrfs": "128M"}  # the least that mkfs.xfs takes today is 300 MB


@pytest.fixture
def file_system(mounts, top):
    """callable: mount a fresh file system; takes its kind (ext4, xfs, btrfs, tmpfs) and a size, gives its mount point."""
    made = []

    def make(kind, size=None, *options):
        point = os.path.join(top, "{}{}".format(kind, len(made)))
        made.append(point)
        if kind == "tmpfs":
            return mounts("-t", "tmpfs", *options, "none", point)
        backing = point + ".img"
        run("truncate", "--size", size or SIZES[kind], backing)
        run("mkfs." + kind, "-q", *(["-F"] if kind == "ext4" else ["-f"]), *options, backing)
        mounts("-o", "loop", backing, point)
        assert is_mounted(point)
        return point

    return make
