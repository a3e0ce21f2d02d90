# SPDX-License-Identifier: Apache-2.0
"""image_manifest.py FILE [NAME]: lists all that the image holds, so that nothing of it need be copied out of the way of a link.

Run at the end of an image build. What lies on other mounts, and what each start makes anew, is left out.
"""

import os
import sys

HOME = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, HOME)

from module_utils.cm_persist.fs.accounts import read_accounts  # noqa: E402
from module_utils.cm_persist.fs.dirfd import OPEN_DIRECTORY, list_names, same_mount  # noqa: E402
from module_utils.cm_persist.tree.manifest import ManifestWriter  # noqa: E402
from module_utils.cm_persist.tree.walk import walk  # noqa: E402

NOT_LISTED = (b"dev", b"proc", b"run", b"sys", b"tmp")


def write(path, name="", root="/"):
    """Write the manifest of the whole image.

    Args:
        path (str): where to.
        name (str): what the image is called, with its version after a colon.
        root (str): the image's root directory.
    """
    root_fd = os.open(root, OPEN_DIRECTORY)
    with open(path, "wb") as file:
        manifest = ManifestWriter(file, read_accounts(root))
        for top in list_names(root_fd):
            if top in NOT_LISTED or not on_the_same_mount(top, root_fd):
                continue
            for visit in walk(root_fd, top):
                manifest.add(visit, top if visit.path == b"." else top + b"/" + visit.path)
        manifest.finish(name)
    os.close(root_fd)


def on_the_same_mount(name, root_fd):
    """bool: whether nothing is mounted at a name in the root directory."""
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=root_fd)
    try:
        return same_mount(fd, root_fd)
    finally:
        os.close(fd)


if __name__ == "__main__":
    write(*sys.argv[1:3])
