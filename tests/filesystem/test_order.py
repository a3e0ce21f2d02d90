# SPDX-License-Identifier: Apache-2.0
"""The order in which a first run puts things on disk: a copy before its name, its name before the record."""

import os

import pytest

from module_utils.cm_persist.fs import syscalls
from tests.tree import read_tree


@pytest.fixture
def log(monkeypatch):
    """list: of (what was done, to which path), filled while the test runs."""
    noted = []

    def note(module, name, which):
        real = getattr(module, name)

        def call(*arguments, **options):
            noted.append((name, which(*arguments, **options)))
            return real(*arguments, **options)

        monkeypatch.setattr(module, name, call)

    def at(fd):
        return os.readlink("/proc/self/fd/{}".format(fd))

    note(os, "fsync", at)
    note(syscalls, "syncfs", at)
    note(syscalls, "rename_noreplace", lambda source, target, _from, to: os.path.join(at(to), os.fsdecode(target)))
    note(os, "rename", lambda source, target, src_dir_fd, dst_dir_fd: os.path.join(at(dst_dir_fd), os.fsdecode(target)))
    return noted


def test_everything_of_a_copy_is_on_disk_before_it_is_published(site, log):
    site.seed()
    assert log.index(("syncfs", site.books)) < log.index(("rename_noreplace", site.stored()))


def test_every_file_and_directory_of_it_where_there_is_no_syncfs(site, log, monkeypatch):
    monkeypatch.setattr(syscalls, "syncfs_reports_errors", lambda _release: False)
    site.seed()
    before = {path for what, path in log[: log.index(("rename_noreplace", site.stored()))] if what == "fsync"}
    (top,) = (path for path in before if path.endswith("/tree"))
    for name, entry in read_tree(site.stored()).items():
        if entry.kind in ("file", "directory"):
            assert os.path.join(top, os.fsdecode(name)).rstrip("/") in before
    private = os.path.dirname(top)
    assert {private, private + "/entry.json", private + "/manifest", os.path.dirname(private), site.books} <= before


def test_its_name_is_on_disk_before_it_is_recorded_and_the_record_s_after(site, log):
    site.seed()
    published = log.index(("rename_noreplace", site.stored()))
    recorded = log.index(("rename", site.books + "/record.json"))
    assert ("fsync", os.path.dirname(site.stored())) in log[published:recorded]
    assert ("fsync", site.books + "/.record.json.new") in log[published:recorded]
    assert ("fsync", site.books) in log[recorded:]


def test_each_directory_that_is_made_on_the_way_is_on_disk(site, log):
    site.seed()
    made = os.path.dirname(site.stored())
    while made != site.store:
        assert ("fsync", os.path.dirname(made)) in log[log.index(("rename", made)) :]
        made = os.path.dirname(made)


def test_an_original_is_touched_only_when_its_copy_is_recorded(site, log):
    site.start()
    recorded = log.index(("rename", site.books + "/record.json"))
    assert log.index(("rename_noreplace", site.path("data-initial"))) > recorded
    assert ("fsync", site.image) in log[recorded:]
