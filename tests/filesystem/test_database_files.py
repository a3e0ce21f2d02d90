# SPDX-License-Identifier: Apache-2.0
"""A merge replaces files one by one, and a database's file and its journal are one: what holds a database is kept as a whole."""

import os
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys

import pytest

from module_utils.cm_persist.errors import PathError
from module_utils.cm_persist.fs.dirfd import Opened
from module_utils.cm_persist.host.database_files import HEADER, is_database
from tests.site import Site, write
from tests.tree import footprint
from tests.upgrades import FIRST, NEW, OLD, SECOND, Upgraded, ship, texts, upgraded

from .test_bad_input import refused

WRITER = """
import os, signal, sqlite3, sys
rows = sqlite3.connect(sys.argv[1], isolation_level=None)
rows.execute("pragma wal_autocheckpoint = 0")
rows.execute("insert into rows values ('the last')")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def site(tmp_path):
    return upgraded(str(tmp_path), "site")


def make_sqlite(path, row, mode="wal", tables=("rows", "others")):
    """A database with one row, closed as it should be, of a time long ago; its tables have their pages in this order."""
    rows = sqlite3.connect(path, isolation_level=None)
    rows.execute("pragma journal_mode = {}".format(mode))
    for table in tables:
        rows.execute("create table {} (name text)".format(table))
    rows.execute("insert into rows values (?)", [row])
    rows.close()
    os.utime(path, (10**9, 10**9))


def rows_of(path):
    rows = sqlite3.connect(path)
    assert rows.execute("pragma integrity_check").fetchall() == [("ok",)]
    return [name for (name,) in rows.execute("select name from rows")]


def test_a_merge_leaves_a_database_whose_process_was_killed_readable_with_its_last_row(top):
    site = Upgraded(top + "/site")
    ship(site, FIRST)
    make_sqlite(site.path() + "/app.db", "of one")
    site.start_as(OLD)
    stored = site.stored() + "/app.db"
    killed = subprocess.run([sys.executable, "-c", WRITER, stored])
    assert killed.returncode == -signal.SIGKILL and os.path.getsize(stored + "-wal"), "it would prove nothing"
    ship(site, SECOND)
    make_sqlite(site.path() + "/app.db", "of two", tables=["others", "rows"])
    told = site.told(policy="merge")
    assert rows_of(stored) == ["of one", "the last"]
    assert "kept as it is, not merged: it holds a database (app.db)" in told


# What makes a directory one of a database, by names: paths below a state path.
NAMED = [
    ["app.db", "app.db-wal"], ["app.db", "app.db-shm"], ["deep/app", "deep/app-journal"],
    ["PG_VERSION"], ["sub/ibdata1"], ["deep/er/schema.DAT"], ["ldap/data.mdb"], ["lock.mdb"],
    ["__db.001"], ["bdb/log.0000000001"], ["rocks/CURRENT", "rocks/MANIFEST-000001"],
    ["index/segments_1a"], ["segments.gen"], ["node.lock"], ["0/_state/state-1.st"],
    ["appendonlydir/appendonly.aof.1.base.rdb"], ["appendonly.aof"], ["dump.rdb"],
]  # fmt: skip
HARMLESS = [
    ["app-wal"], ["deep/app-journal", "app"], ["CURRENT"], ["MANIFEST-000001", "sub/CURRENT"], ["log.1"], ["segments_"],
    ["_state"], ["my-appendonly.aof"], ["SQLite format 3"],
]  # fmt: skip


def put(top, names, text="x"):
    for name in names:
        os.makedirs(os.path.dirname(os.path.join(top, name)), exist_ok=True)
        write(os.path.join(top, name), text)


@pytest.mark.parametrize("side", ["store", "image"])
@pytest.mark.parametrize("names", NAMED, ids=" ".join)
def test_what_holds_a_database_by_its_names_is_kept(site, names, side):
    put(site.stored() if side == "store" else site.path(), names)
    before = footprint(site.stored())
    told = site.told(policy="merge")
    named = names[0].split("_state")[0] + "_state" if "_state" in names[0] else names[0]
    assert "it holds a database ({})".format(named) in told and footprint(site.stored()) == before


@pytest.mark.parametrize("names", HARMLESS, ids=" ".join)
def test_what_is_only_called_alike_is_merged(site, names):
    put(site.stored(), names)
    assert site.start_as(policy="merge").paths[0]["state"] == "merged"


def words(*numbers, order="<"):
    return struct.pack(order + "{}I".format(len(numbers)), *numbers)


HEADS = {
    "SQLite": b"SQLite format 3\0" + bytes(84),
    "Berkeley DB": words(0, 1, 0, 0x061561, 10),
    "Berkeley DB of another machine": words(0, 1, 0, 0x053162, 9, order=">"),
    "LMDB": words(0, 0, 0x080000, 0, 0xBEEFC0DE, 1),
    "bbolt": words(0, 0, 0x4, 0, 0xED0CDAED, 2),
}
OTHERS = {
    "nothing": b"",
    "less than a header": words(0, 1, 0, 0x061561),
    "text": b"SQLite format 3 is what this is about",
    "zeros": bytes(100),
    "elsewhere": words(0x061561, 0xBEEFC0DE, 0xED0CDAED, 0, 0),
}


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("side", ["store", "image"])
def test_what_holds_a_database_by_its_first_bytes_is_kept(site, kind, side):
    top = site.stored() if side == "store" else site.path()
    os.makedirs(top + "/sub/of")
    with open(top + "/sub/of/users", "wb") as file:
        file.write(HEADS[kind])
    before = footprint(site.stored())
    assert "it holds a database (sub/of/users)" in site.told(policy="merge") and footprint(site.stored()) == before


@pytest.mark.parametrize("kind", [*HEADS, *OTHERS])
def test_first_bytes(tmp_path, kind):
    (tmp_path / "file").write_bytes({**HEADS, **OTHERS}[kind])
    with Opened(os.open(str(tmp_path), os.O_RDONLY)) as descriptor:
        assert is_database(b"file", descriptor) == (kind in HEADS) and HEADER == 20


@pytest.mark.parametrize("journal", [True, False])
def test_a_single_file_that_is_a_database_is_kept(top, journal):
    """As a state path of its own; its journal, if there is one, is next to it."""
    site = Upgraded(top + "/site")
    os.makedirs(os.path.dirname(site.path()), exist_ok=True)
    make_sqlite(site.path(), "of one", "delete")
    site.start_as(OLD)
    os.unlink(site.path())
    make_sqlite(site.path(), "of two", "delete")
    if journal:
        write(site.stored(), "encrypted")
        write(site.path(), "encrypted, too")
        write(site.stored() + "-wal", "x")
    assert "it holds a database (data)" in site.told(policy="merge")


def test_special_files_are_not_opened(site):
    os.mkfifo(site.stored() + "/pipe")
    os.symlink("/dev/zero", site.stored() + "/app.db")
    assert site.start_as(policy="merge").paths[0]["state"] == "merged"


def test_an_image_that_changed_nothing_there_is_not_read(site, monkeypatch):
    ship(site, FIRST, when=1600000000)
    monkeypatch.setattr("module_utils.cm_persist.upgrade.databases.is_database", None)
    assert not site.start_as(NEW, policy="merge").warnings and "touched" in texts(site.stored())


@pytest.mark.parametrize("journal", ["app.db-wal", "app.db-journal"])
@pytest.mark.parametrize("method", ["symlink", "bind"])
def test_a_single_file_is_not_seeded_without_the_journal_that_is_next_to_it(top, journal, method):
    site = Site(top)
    make_sqlite(site.path("app.db"), "of one")
    write(site.path(journal), "the last row")
    error = refused(site, lambda: site.seed("app.db", method=method), site.path("app.db"), site.path(journal), kind=PathError)
    assert "directory" in error.hint
    os.truncate(site.path(journal), 0)
    os.truncate(site.path(journal), 512)  # as journal_mode=PERSIST leaves one that is done
    assert site.seed("app.db", method=method).changed


def test_a_journal_that_is_a_state_path_too_is_seeded_with_its_file(top):
    site = Site(top)
    make_sqlite(site.path("app.db"), "of one")
    write(site.path("app.db-journal"), "x")
    assert site.seed("app.db", "app.db-journal").changed


def test_a_directory_has_no_journal(site):
    write(site.path() + "-journal", "x")
    shutil.rmtree(site.store)
    os.mkdir(site.store)
    assert site.seed().changed
