# SPDX-License-Identifier: Apache-2.0
import json
import os

import pytest

from module_utils.cm_persist.errors import StoreError
from module_utils.cm_persist.store import record

ENTRY = {
    "origin": "seeded", "kind": "directory", "files": 1, "bytes": 2, "manifest": "m", "base": None, "listed": False, "at": 3,
    "left": None, "databases": [],
    "image": {"id": "a", "name": ""}, "seen": None,
    "top": {"uid": 0, "gid": 0, "mode": 0o700},
}  # fmt: skip


@pytest.fixture
def state(tmp_path):
    fd = os.open(str(tmp_path), os.O_RDONLY)
    yield fd
    os.close(fd)


def put(state, data):
    fd = os.open("record.json", os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=state)
    os.write(fd, data)
    os.close(fd)


def broken(state):
    with pytest.raises(StoreError) as error:
        record.read_record(state, "/store/.cm_persist")
    assert error.value.path == "/store/.cm_persist/record.json" and error.value.hint.endswith(".")
    return error.value


def test_none_is_none(state):
    assert record.read_record(state, "/s") is None


def test_what_is_written_is_read(state):
    entries = {"/a": ENTRY, "/latin-\udce9\n": dict(ENTRY, origin="adopted", manifest=None)}
    record.write_record(state, entries)
    assert record.read_record(state, "/s") == entries
    record.write_record(state, {})
    assert record.read_record(state, "/s") == {}


def test_it_is_private_and_leaves_nothing_beside(state):
    record.write_record(state, {"/a": ENTRY})
    assert os.listdir(state) == ["record.json"]
    assert os.stat("record.json", dir_fd=state).st_mode & 0o777 == 0o600


def test_a_newer_schema_is_told_as_such(state):
    put(state, json.dumps({"schema": 2, "whatever": "it is"}).encode())
    error = broken(state)
    assert error.results == {"store_state": "newer"} and "schema 2" in str(error)


@pytest.mark.parametrize("data", [b"", b"{", b"null", b"[]", b"7", b"\xff\xfe", b"{}", b'{"schema": 1}', b"[" * 5000])
def test_what_is_no_record_is_broken(state, data):
    put(state, data)
    assert "newer" not in broken(state).results.values()


@pytest.mark.parametrize("schema", [None, "1", 1.5, True, [], {}])
def test_a_schema_that_is_no_number_of_ours(state, schema):
    put(state, json.dumps({"schema": schema, "paths": {"relative": 1}}).encode())
    broken(state)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("origin", "bought"), ("kind", "link"), ("files", "1"), ("files", None), ("bytes", 1.5), ("at", "now"),
        ("manifest", "../../etc/shadow"), ("manifest", 7), ("manifest", ""), ("manifest", ".."), ("base", "../m"),
        ("listed", 1), ("left", {"id": 1}), ("databases", ["../x"]), ("origin", []),
    ],
)  # fmt: skip
def test_an_entry_with_a_wrong_value(state, key, value):
    put(state, json.dumps({"schema": 1, "paths": {"/a": dict(ENTRY, **{key: value})}}).encode())
    broken(state)


@pytest.mark.parametrize("key", sorted(ENTRY))
def test_an_entry_that_lacks_a_value(state, key):
    entry = {name: value for name, value in ENTRY.items() if name != key}
    put(state, json.dumps({"schema": 1, "paths": {"/a": entry}}).encode())
    broken(state)


@pytest.mark.parametrize("paths", [[], 7, None, {"relative": ENTRY}, {"": ENTRY}, {"/a": None}, {"/a": []}, {"/a": "x"}])
def test_paths_of_another_form(state, paths):
    put(state, json.dumps({"schema": 1, "paths": paths}).encode())
    broken(state)


@pytest.mark.parametrize(
    "make",
    [
        lambda fd: os.symlink("/etc/passwd", "record.json", dir_fd=fd),
        lambda fd: os.mkdir("record.json", dir_fd=fd),
        lambda fd: os.mkfifo("record.json", dir_fd=fd),
    ],
    ids=["link", "directory", "fifo"],
)
def test_a_record_that_is_no_file(state, make):
    make(state)
    broken(state)


def test_a_record_that_is_far_too_large(state):
    put(state, b"")
    os.truncate(os.open("record.json", os.O_WRONLY, dir_fd=state), record.LARGEST + 1)
    broken(state)
