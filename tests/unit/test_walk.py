# SPDX-License-Identifier: Apache-2.0
"""What the walk says of a directory when it leaves it, in a tree deeper than it keeps descriptors open."""

import os

from module_utils.cm_persist.tree.walk import LEAVE, walk


def test_a_directory_is_open_when_it_is_left(tmp_path):
    deepest = tmp_path.joinpath("tree", *("d{}".format(number) for number in range(200)))
    deepest.mkdir(parents=True)
    top = os.open(str(tmp_path), os.O_RDONLY)
    left = []
    for visit in walk(top, b"tree"):
        if visit.event == LEAVE:
            assert os.fstat(visit.fd).st_ino == visit.status.st_ino, visit.path
            left.append(visit.path)
    os.close(top)
    assert len(left) == 201
