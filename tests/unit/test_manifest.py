# SPDX-License-Identifier: Apache-2.0
import hashlib
import io
import os
import socket

import pytest

from module_utils.cm_persist.tree.manifest import ManifestWriter, Scrutiny, compare
from module_utils.cm_persist.tree.walk import walk


class Tree:
    """A directory "t" with a few entries, and its manifest."""

    def __init__(self, top):
        self.path = str(top / "t")
        os.makedirs(self.path + "/sub")
        for name in ("a", "sub/b"):
            with open(os.path.join(self.path, name), "w") as file:
                file.write(name)
        os.symlink(b"to\n\xe9", os.fsencode(self.path) + b"/link")
        os.mkfifo(self.path + "/pipe")
        os.mkdir(os.fsencode(self.path) + b"/d \n\xe9")
        self.fd = os.open(str(top), os.O_RDONLY)
        self.manifest = self.write()

    def write(self):
        file = io.BytesIO()
        writer = ManifestWriter(file)
        for visit in walk(self.fd, b"t"):
            writer.add(visit)
        writer.finish()
        return file.getvalue()

    def compare(self, manifest=None, removal_begun=False):
        manifest = io.BytesIO(self.manifest if manifest is None else manifest)
        return compare(manifest, (self.fd, b"t"), Scrutiny(removal_begun))


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path)


def test_a_line_for_each_entry_with_all_fields(tree):
    lines = tree.manifest.decode("ascii").splitlines()
    assert lines[0] == "cm_persist manifest 2" and lines[-1].startswith("end 7 ") and len(lines) == 9
    status = os.stat(tree.path + "/a")
    expected = "f {:04o} {} {} 1 {} a  {}".format(
        status.st_mode & 0o7777, status.st_uid, status.st_gid, status.st_mtime_ns, hashlib.sha256(b"a").hexdigest()[:32]
    )
    assert lines[2] == expected
    assert [line.split(" ")[6] for line in lines[1:-1]] == [".", "a", "d%20%0A%E9", "link", "pipe", "sub", "sub/b"]
    assert [line.split(" ")[0] for line in lines[1:-1]] == list("dfdlpdf")
    assert lines[4].split(" ")[7] == "to%0A%E9"


def test_an_untouched_tree_has_no_difference(tree):
    assert tree.compare() is None and tree.compare(removal_begun=True) is None


def test_sockets_count_as_nothing(tree):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(tree.path + "/sub/s")
        os.utime(tree.path + "/sub", ns=(0, int(tree.manifest.split(b" sub ")[0].split(b" ")[-1])))
        assert tree.compare() is None


CHANGES = {
    "size": (b"a", lambda path: os.truncate(path + "/a", 5)),
    "mode": (b"a", lambda path: os.chmod(path + "/a", 0o4755)),
    "time": (b"a", lambda path: os.utime(path + "/a", ns=(0, 1))),
    "target": (b".", lambda path: (os.unlink(path + "/link"), os.symlink("x", path + "/link"))),
    "type": (b".", lambda path: (os.unlink(path + "/pipe"), os.mkdir(path + "/pipe"))),
    "new": (b".", lambda path: open(path + "/new", "w").close()),
    "gone": (b"sub", lambda path: os.unlink(path + "/sub/b")),
}


@pytest.mark.parametrize("change", CHANGES)
def test_each_change_is_a_difference(tree, change):
    where, make = CHANGES[change]
    make(tree.path)
    assert tree.compare().path == where


@pytest.mark.parametrize("change", ["size", "mode", "time", "target", "type", "new"])
def test_during_a_removal_what_was_put_there_is_a_difference(tree, change):
    CHANGES[change][1](tree.path)
    assert tree.compare(removal_begun=True) is not None


@pytest.mark.parametrize("gone", [["sub/b"], ["sub/b", "sub"], ["pipe", "sub/b"], ["a", "pipe", "link", "sub/b"]])
def test_during_a_removal_what_is_gone_is_none(tree, gone):
    for name in gone:
        path = os.path.join(tree.path, name)
        (os.rmdir if os.path.isdir(path) else os.unlink)(path)
    assert tree.compare(removal_begun=True) is None and tree.compare() is not None


def test_an_entry_less_than_the_manifest_says_is_a_difference(tree):
    lines = tree.manifest.splitlines(True)
    more = b"".join(lines[:-1]) + lines[-2].replace(b"sub/b", b"sub/c") + lines[-1]
    assert tree.compare(more).found == "gone"


def test_a_manifest_that_is_cut_short_or_another_equals_nothing(tree):
    lines = tree.manifest.splitlines(True)
    for cut in range(len(lines) - 1):
        assert tree.compare(b"".join(lines[:cut])) is not None
    assert tree.compare(tree.manifest.replace(b"manifest 2", b"manifest 3")) is not None
    assert tree.compare(b"") is not None


def test_a_manifest_without_its_last_line_is_cut_short(tree):
    assert tree.compare(tree.manifest[: tree.manifest.rindex(b"end")]) is not None


@pytest.fixture
def whole(tree, tmp_path):
    """callable: compares the tree with its part of a manifest that lists more; takes how to change its lines, and the part."""

    file = io.BytesIO()
    writer = ManifestWriter(file)
    for top in (b"top", b"top/d \n\xe9", b"top/d \n\xe9/t", b"top/d \n\xe9/t-initial", b"top/e", b"top/e/d \n\xe9/t"):
        for visit in walk(tree.fd, b"t"):
            if visit.path == b"." or top.endswith(b"/t"):
                writer.add(visit, top if visit.path == b"." else top + b"/" + visit.path)
    writer.finish()

    def compare_part(change=lambda lines: lines, within=b"top/d \n\xe9/t", name=b"t"):
        (tmp_path / "manifest").write_bytes(b"".join(change(file.getvalue().splitlines(True))))
        with open(str(tmp_path / "manifest"), "rb") as manifest:
            return compare(manifest, (tree.fd, name), within=within)

    return compare_part


def test_a_part_of_a_manifest_is_compared_alone(whole):
    assert whole() is None
    assert whole(within=b"top/e/d \n\xe9/t") is None, "the last one"


@pytest.mark.parametrize("change", CHANGES)
def test_each_change_is_a_difference_from_a_part(tree, whole, change):
    where, make = CHANGES[change]
    make(tree.path)
    assert whole().path == where


@pytest.mark.parametrize("within", [b"top/d", b"t", b"e", b"top/d \n\xe9/t-", b"1", b"0755", b"nowhere"])
def test_of_what_a_manifest_does_not_list_nothing_is_proved(whole, within):
    assert whole(within=within) is not None


def test_a_part_that_is_cut_short_proves_nothing(whole):
    def cut(number):
        return lambda lines: lines[:number]

    for number in range(10):  # two above it, its own seven lines, none that would show their end
        assert whole(cut(number)) is not None, number
    assert whole(cut(11)) is None and whole(lambda lines: [b"other\n", *lines[1:]]) is not None


def test_a_part_with_an_entry_less_or_more_is_a_difference(whole):
    assert whole(lambda lines: lines[:5] + lines[6:]) is not None
    assert whole(lambda lines: lines[:6] + [lines[5].replace(b"/a ", b"/b ")] + lines[6:]) is not None


@pytest.mark.parametrize("exact", ["1500000000400000000", "1500000000600000000", "1499999999600000000"])
def test_a_time_that_a_layer_keeps_in_whole_seconds_is_the_same(tree, exact):
    os.utime(tree.path + "/a", ns=(0, int(exact)))
    manifest = tree.write()
    whole_second = round(int(exact) / 10**9) * 10**9
    os.utime(tree.path + "/a", ns=(0, whole_second))
    assert tree.compare(manifest) is None
    for other in (whole_second + 1, whole_second + 2 * 10**9, whole_second - 10**9 - 10**8):
        os.utime(tree.path + "/a", ns=(0, other))
        assert tree.compare(manifest).path == b"a"


def test_a_time_that_is_no_number_equals_none(tree):
    status = os.stat(tree.path + "/a")
    os.utime(tree.path + "/a", ns=(0, 1500000000000000000))
    for nonsense in (b"", b"-", b"x" * 9, b"9" * 5000):
        assert tree.compare(tree.manifest.replace(b"%d a" % status.st_mtime_ns, nonsense + b" a")) is not None
