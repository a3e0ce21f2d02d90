# SPDX-License-Identifier: Apache-2.0
"""The machine that a run works on, as one value, which tests replace."""

import os
import time
from typing import Any, List, NamedTuple, Optional

from ..fs.accounts import Accounts, read_accounts
from .mounts import Mount, read_mounts
from .selinux import Selinux
from .systemd import Systemd


class Machine(NamedTuple):
    """This machine. names (the accounts of the image) and table (the mount table) are read when needed if they are None.

    root is the directory below which etc/passwd and etc/group are the image's. clock has monotonic(), time(), sleep() and
    strftime(), as the module time; release is the kernel's, as in uname -r.
    """

    systemd: Systemd = Systemd()
    selinux: Selinux = Selinux()
    clock: Any = time
    release: str = os.uname().release
    names: Optional[Accounts] = None
    table: Optional[List[Mount]] = None
    root: str = "/"

    def mounts(self) -> List[Mount]:
        """The mount table as it is now."""
        return read_mounts() if self.table is None else self.table

    def accounts(self) -> Accounts:
        """The users and groups of the running image."""
        return read_accounts(self.root) if self.names is None else self.names


THIS_MACHINE = Machine()
