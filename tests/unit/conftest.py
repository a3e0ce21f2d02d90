# SPDX-License-Identifier: Apache-2.0
"""A directory with a small tree, where fsync, syncfs and rename are recorded."""

import os

import pytest

from module_utils.cm_persist.fs import syscalls


class Disk:
    """Records fsync, syncfs and rename, each as (name, path)."""

    def __init__(self, top, monkeypatch):
        self.top, self.log = str(top), []
        os.makedirs(self.top + "/tree/sub/deep")
        for name in ("tree/a", "tree/sub/b"):
            open(os.path.join(self.top, name), "w").close()
        os.symlink("a", self.top + "/tree/link")
        os.mkfifo(self.top + "/tree/pipe")
        self.fd = os.open(self.top, os.O_RDONLY)
        self._record(monkeypatch, os, "fsync")
        self._record(monkeypatch, syscalls, "syncfs")
        self._record(monkeypatch, os, "rename")

    def _record(self, monkeypatch, module, name):
        real = getattr(module, name)

        def call(first, *arguments, **options):
            where = os.readlink("/proc/self/fd/{}".format(first)) if isinstance(first, int) else first.decode()
            self.log.append((name, os.path.relpath(where, self.top) if isinstance(first, int) else where))
            return real(first, *arguments, **options)

        monkeypatch.setattr(module, name, call)


@pytest.fixture
def disk(tmp_path, monkeypatch):
    made = Disk(tmp_path, monkeypatch)
    yield made
    os.close(made.fd)
