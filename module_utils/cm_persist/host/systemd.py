# SPDX-License-Identifier: Apache-2.0
"""Units of systemd: any unit of ours, and the mount units by which bind mounts survive a reboot (systemd.mount(5))."""

import contextlib
import glob
import os
import socket
import subprocess
from typing import Callable, List, NamedTuple, Optional

from ..errors import LinkError, printable
from ..fs.atomic import write_file
from ..fs.dirfd import Opened, sync_directory
from .mounts import Mount, real_path

OURS = "# Made by cm_persist"
DROP_IN = "cm_persist.conf"  # the name in roles/cm_persist/tasks/drop_ins.yml
SEE_SYSTEMD = "Read systemctl status and journalctl of it, fix the cause, then start again."
# AssertPathExists: without it, systemd would make a missing directory, and mount an empty one where the volume is not mounted
# (mkdir_p of What= in mount_enter_mounting(), src/core/mount.c). RequiredBy: as for a line of fstab without nofail, the machine
# must not start its services with older content at the path. systemd orders the mount after the store's by What= itself.
TEXT = (
    OURS
    + """ (persist_link, method bind); it goes with state: unlinked.
[Unit]
Description=cm_persist: the store's copy of {where}
AssertPathExists={what}

[Mount]
What={what}
Where={where}
Type=none
Options={options}

[Install]
RequiredBy={target}
"""
)


class Unit(NamedTuple):
    """A unit of ours."""

    name: str
    text: str
    target: str  # starts it at boot
    current: bool  # it is installed with this text, and enabled
    pull: str = "requires"  # of the target: "requires" or "wants"


class Systemd:
    """The systemd of this machine.

    units is the directory of the administrator's units. At the socket running, systemd answers while it manages the machine;
    before a container's init it does not.
    """

    def __init__(self, units="/etc/systemd/system", running="/run/systemd/private", call=subprocess.run):
        self._units, self._running, self._call = units, running, call

    def runs(self) -> bool:
        """True if systemd answers. The socket alone proves nothing: /run may outlive its container."""
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as asked:
            try:
                asked.connect(self._running)
            except (FileNotFoundError, ConnectionRefusedError):
                return False
            except OSError:
                return True  # only root may connect to it
        return True

    def waits_for_network(self, mount: Optional[Mount]) -> bool:
        """True for a mount that needs a network at boot, also by _netdev (systemd.mount(5)); None is no mount."""
        if mount is None or mount.is_network or mount.mount_point == "/":
            return mount is not None and mount.is_network
        before = self._run(mount.mount_point, "systemctl", "show", "--property=Before", self.name(mount.mount_point))
        return "remote-fs.target" in before.replace("=", " ").split()

    def observe_mount(self, where: str, what: str, network: bool) -> Unit:
        """The mount unit that a state path (where) needs for its place in the store (what), and whether it is current."""
        at = real_path(where)  # systemd wants no link in it
        for path in (at, what):
            if not path.isprintable() or path != path.strip() or path.endswith("\\"):
                hint = "Use the method symlink for it."
                raise LinkError(where, "a mount unit cannot name {}".format(printable(path)), hint)
        target = "remote-fs.target" if network else "local-fs.target"  # a store on the network is mounted later at boot
        options = "bind,_netdev" if network else "bind"
        # % starts a specifier in a unit file; no other character has a meaning in the values of these settings.
        text = TEXT.format(where=at.replace("%", "%%"), what=what.replace("%", "%%"), options=options, target=target)
        return self.observe(Unit(self.name(where), text, target, False), where)

    def observe(self, unit: Unit, where: str) -> Unit:
        """The same unit, and whether it is current; a LinkError at the path where if one with its name is not ours."""
        found = self._text(unit.name)
        if found is not None and not found.startswith(OURS):
            hint = "Check what it is for, then remove or rename it."
            raise LinkError(where, "there is a unit {} that cm_persist has not made".format(unit.name), hint)
        return unit._replace(current=found == unit.text and os.path.islink(self._enabled(unit)))

    def text_of(self, name: str) -> str:
        """The text of the unit of ours with this name; '' if there is none."""
        text = self._text(name) or ""
        return text if text.startswith(OURS) else ""

    def name(self, where: str) -> str:
        """The only name that the mount unit of a state path may have."""
        return self._run(where, "systemd-escape", "--path", "--suffix=mount", real_path(where)).strip()

    def install(self, unit: Unit, where: str, works: Callable[[], bool], purpose: str) -> None:
        """Write a unit's file, start the unit, and enable it if it works; purpose is its job, and where its path, for errors."""
        new = self._text(unit.name) is None
        with Opened(os.open(self._units, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as directory:
            write_file(directory, os.fsencode(unit.name), unit.text.encode("utf-8"), mode=0o644)
        try:
            self._run(where, "systemctl", "daemon-reload")
            self._run(where, "systemctl", "start", unit.name)
            if not works():
                raise LinkError(where, "the unit {} was started, but does not {}".format(unit.name, purpose), SEE_SYSTEMD)
        except LinkError:
            if new:
                self._take_back(unit.name, where)
            raise
        self._run(where, "systemctl", "reenable", "--quiet", unit.name)
        for path in (os.path.dirname(self._enabled(unit)), self._units):
            sync_directory(path)

    def remove(self, name: str, where: str, stop: bool = False) -> None:
        """Remove the unit of ours with this name, if there is one: from the next boot on, or at once; where is for errors."""
        if not self.text_of(name):
            return
        if stop and self.runs():
            self._run(where, "systemctl", "stop", name)
        self._run(where, "systemctl", "disable", "--quiet", name)
        self._remove_file(name)
        if self.runs():
            self._run(where, "systemctl", "daemon-reload")

    def drop_ins(self, store_path: str) -> List[str]:
        """The paths of the services' drop-ins that vm.yml has written for this store."""
        found = sorted(glob.glob(os.path.join(glob.escape(self._units), "*.d", DROP_IN)))
        return [path for path in found if _is_drop_in_for(path, store_path)]

    def remove_drop_ins(self, store_path: str) -> None:
        """Remove these drop-ins, and the directories that are then empty."""
        for path in self.drop_ins(store_path):
            os.unlink(path)
            directory = os.path.dirname(path)
            sync_directory(directory)
            with contextlib.suppress(OSError):  # it is not empty: the administrator's
                os.rmdir(directory)
        if self.runs():
            self._run(store_path, "systemctl", "daemon-reload")

    def _enabled(self, unit):
        return os.path.join(self._units, "{}.{}".format(unit.target, unit.pull), unit.name)

    def _take_back(self, name, where):
        # The next boot must not require a unit that fails, and systemd must not start it again.
        self._remove_file(name)
        with contextlib.suppress(LinkError):  # the caller reports the first failure
            self._run(where, "systemctl", "stop", name)
        with contextlib.suppress(LinkError):
            self._run(where, "systemctl", "daemon-reload")

    def _remove_file(self, name):
        os.unlink(os.path.join(self._units, name))
        sync_directory(self._units)

    def _text(self, name):
        path = os.path.join(self._units, name)
        with contextlib.suppress(FileNotFoundError), open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
        return None

    def _run(self, where, *command):
        try:
            done = self._call(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True, check=False)
        except OSError as error:
            found = "{} cannot be run: {}".format(command[0], error.strerror)
            raise LinkError(where, found, "Use the method symlink.") from error
        if done.returncode:
            output = " ".join(printable(line) for line in done.stderr.splitlines())
            raise LinkError(where, "{} failed: {}".format(" ".join(command), output or done.returncode), SEE_SYSTEMD)
        return done.stdout


def _is_drop_in_for(path, store_path):
    assertion = "AssertPathExists={}/.cm_persist/record.json".format(store_path.replace("%", "%%"))
    with open(path, errors="surrogateescape") as file:
        lines = file.read().splitlines()
    return bool(lines) and lines[0].startswith(OURS) and assertion in lines
