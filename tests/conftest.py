# SPDX-License-Identifier: Apache-2.0
"""Fixtures of all suites: a scratch machine, and real mounts that are always taken down again."""

import contextlib
import os
import shutil
import subprocess
import tempfile

import pytest

from module_utils.cm_persist.tree import workers as pool

from .site import Site, is_mounted, run


def pytest_configure(config):
    config.addinivalue_line("markers", "root: needs root: owners, device nodes, mounts")


def pytest_runtest_setup(item):
    if item.get_closest_marker("root") and os.geteuid():
        pytest.skip("not root: it makes owners, device nodes or mounts")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """In CI a test that cannot be run has failed; but for kubectl, which no registry of packages has as new as it takes."""
    report = yield
    if report.skipped and os.environ.get("CI"):
        reason = report.longrepr[2]
        if not reason.startswith("Skipped: no kubectl "):
            report.outcome, report.longrepr = "failed", "in CI this must run. {}".format(reason)
    return report


@pytest.fixture(autouse=True)
def in_one_process(monkeypatch):
    """Copy in the test's own process, as its monkeypatches and kills are there; a test of the workers asks for some itself."""
    monkeypatch.setattr(pool, "wanted", lambda *_load: 0)


@pytest.fixture
def top():
    """str: a scratch directory that other users may enter, which pytest's own are not."""
    path = tempfile.mkdtemp(prefix="cm_persist-")
    os.chmod(path, 0o755)
    yield path
    subprocess.run(["chattr", "-R", "-ia", path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    shutil.rmtree(path)


@pytest.fixture
def site(top):
    """Site: with an original at "data" that is not empty, and an empty store."""
    made = Site(top)
    made.fill()
    return made


@pytest.fixture
def mounts(top):  # top is named so that it is removed after they are gone
    """callable: mount, with arguments as the command takes them, the mount point last; gives the mount point."""
    with contextlib.ExitStack() as stack:

        def mount(*arguments):
            point = arguments[-1]
            if not os.path.exists(point):
                os.makedirs(point)
            run("mount", *arguments)
            stack.callback(subprocess.run, ["umount", "--lazy", "--quiet", point], check=False)
            # A mount that failed would leave the test writing to the machine's own disk.
            assert is_mounted(point)
            return point

        yield mount


@pytest.fixture
def volume(mounts, top):
    """callable: a real ext4 of its own, a file on a loop device; takes its size and mkfs options, gives its mount point."""

    def make(size="16M", *options):
        backing = os.path.join(top, "volume.ext4")
        run("truncate", "--size", size, backing)
        run("mkfs.ext4", "-q", "-F", *options, backing)
        return mounts("-o", "loop", backing, os.path.join(top, "volume"))

    return make
