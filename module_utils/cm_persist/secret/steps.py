# SPDX-License-Identifier: Apache-2.0
"""The steps that link the credentials."""

import contextlib
import os
from typing import NamedTuple

from ..fs.dirfd import list_names
from ..fs.mkdirs import make_parents
from ..fs.node import ParentDir


class MakeParents(NamedTuple):
    """Make the directories above the target."""

    target: str

    def describe(self):
        return "make the directories above {}, mode 0755".format(self.target)

    def execute(self, _run):
        uid, gid = (0, 0) if os.geteuid() == 0 else (-1, -1)
        make_parents(self.target, lambda _path: (uid, gid, 0o755))


class RemoveEmptyTarget(NamedTuple):
    """Remove the empty directory that is left where the credentials were mounted."""

    target: str

    def describe(self):
        return "remove the empty directory {}".format(self.target)

    def execute(self, _run):
        os.rmdir(self.target)  # which fails if it has content by now


class PutLink(NamedTuple):
    """Make the link, in place of another if there is one."""

    source: str
    target: str

    def describe(self):
        return "link {} to {}".format(self.target, self.source)

    def execute(self, _run):
        # By a rename: readers find the old link or the new one. Its temporary name has the number of this process, as the unit
        # that watches the place may do the same at this moment.
        with ParentDir(self.target) as parent:
            prefix = b"." + parent.name + b".cm_persist-"
            mine = prefix + str(os.getpid()).encode()
            for name in list_names(parent.fd):
                if name.startswith(prefix) and (name == mine or not os.path.exists(b"/proc/" + name[len(prefix) :])):
                    with contextlib.suppress(FileNotFoundError):  # another process removes it too
                        os.unlink(name, dir_fd=parent.fd)
            os.symlink(self.source, mine, dir_fd=parent.fd)
            os.rename(mine, parent.name, src_dir_fd=parent.fd, dst_dir_fd=parent.fd)
