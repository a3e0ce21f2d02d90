# SPDX-License-Identifier: Apache-2.0
"""Units of systemd, on machines where it runs; those for bind mounts that survive a reboot (systemd.mount(5))."""

import contextlib
import glob
import os
import socket
import subprocess
from typing import NamedTuple

from ..errors import LinkError, printable
from ..fs.atomic import write_file
from .mounts import real_path

# AssertPathExists: systemd would make what is missing, and mount an empty directory where the volume is not there (mkdir_p of
# What= in mount_enter_mounting(), src/core/mount.c). RequiredBy: as for a line of fstab without nofail, the machine must not go
# on to its services with older content at the path. That the mount follows the store's, systemd sees from What= itself.
OURS = "# Made by cm_persist"
DROP_IN = "cm_persist.conf"  # as roles/cm_persist/tasks/drop_ins.yml calls it
SEE_SYSTEMD = "See what systemctl status and journalctl say of it, mend the cause, then start again."
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
    """A unit of ours: name as systemctl takes it, text its file's, the target that pulls it in and how ("requires" or "wants"),
    and whether it is installed just so."""

    name: str
    text: str
    target: str
    current: bool
    pull: str = "requires"


class Systemd:
    """The systemd of this machine.

    Args:
        units (str): the directory of the administrator's units.
        running (str): the socket at which systemd answers while it manages the machine; before a container's init it does not.
        call (callable): as subprocess.run.
    """

    def __init__(self, units="/etc/systemd/system", running="/run/systemd/private", call=subprocess.run):
        self._units, self._running, self._call = units, running, call

    def runs(self):
        """bool: whether it does: a socket may be left from one that did, where /run outlives its container."""
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as asked:
            try:
                asked.connect(self._running)
            except (FileNotFoundError, ConnectionRefusedError):
                return False
            except OSError:
                return True  # it is there for root alone
        return True

    def waits_for_network(self, mount):
        """bool: whether a Mount comes only when there is a network, as _netdev has it also of disks (systemd.mount(5)); None is
        no mount."""
        if mount is None or mount.is_network or mount.mount_point == "/":
            return mount is not None and mount.is_network
        before = self._run(mount.mount_point, "systemctl", "show", "--property=Before", self.name(mount.mount_point))
        return "remote-fs.target" in before.replace("=", " ").split()

    def look(self, where, what, network):
        """Look at the mount unit of a state path.

        Args:
            where (str): the state path.
            what (str): its place in the store.
            network (bool): whether the store comes over a network, and so only later in a boot.

        Returns:
            Unit: as it should be, and whether it is.
        """
        at = real_path(where)  # systemd wants no link in it
        for path in (at, what):
            if not path.isprintable() or path != path.strip() or path.endswith("\\"):
                hint = "Use the method symlink for it."
                raise LinkError(where, "a mount unit cannot name {}".format(printable(path)), hint)
        target = "remote-fs.target" if network else "local-fs.target"
        # % begins a specifier in a unit file, and nothing else means anything in the value of these settings.
        text = TEXT.format(
            where=at.replace("%", "%%"),
            what=what.replace("%", "%%"),
            options="bind,_netdev" if network else "bind",
            target=target,
        )
        return self.compare(Unit(self.name(where), text, target, False), where)

    def compare(self, unit, where):
        """Unit: the same, and whether it is installed just so; one of that name that is not ours is refused."""
        found = self._text(unit.name)
        if found is not None and not found.startswith(OURS):
            hint = "Remove or rename it, after a look at what it is for."
            raise LinkError(where, "there is a unit {} that cm_persist has not made".format(unit.name), hint)
        return unit._replace(current=found == unit.text and os.path.islink(self._enabled(unit)))

    def text_of(self, name):
        """str: the text of a unit of ours with this name, '' where there is none."""
        text = self._text(name) or ""
        return text if text.startswith(OURS) else ""

    def name(self, where):
        """str: the only name that the mount unit of a state path may have."""
        return self._run(where, "systemd-escape", "--path", "--suffix=mount", real_path(where)).strip()

    def install(self, unit, where, works, purpose):
        """Write a unit's file, start it, and have it started at each boot.

        Args:
            unit (Unit): as look() or compare() gives it.
            where (str): the state path, for errors.
            works (callable): says whether it does what it should; then only is it enabled.
            purpose (str): what it should do, for errors.
        """
        new = self._text(unit.name) is None
        directory = os.open(self._units, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            write_file(directory, os.fsencode(unit.name), unit.text.encode("utf-8"), mode=0o644)
        finally:
            os.close(directory)
        try:
            self._run(where, "systemctl", "daemon-reload")
            self._run(where, "systemctl", "start", unit.name)
            if not works():
                raise LinkError(where, "the unit {} was started, but does not {}".format(unit.name, purpose), SEE_SYSTEMD)
        except LinkError:
            if new:  # nothing that fails may be required by the next boot, or go on trying
                self._remove_file(unit.name)
                with contextlib.suppress(LinkError):  # the first failure is the one to tell of
                    self._run(where, "systemctl", "stop", unit.name)
                with contextlib.suppress(LinkError):
                    self._run(where, "systemctl", "daemon-reload")
            raise
        self._run(where, "systemctl", "reenable", "--quiet", unit.name)
        for directory in (os.path.dirname(self._enabled(unit)), self._units):
            _sync(directory)

    def remove(self, name, where, stop=False):
        """Remove a unit of this name (str), if there is one, from the next boot on, or at once; where as for install()."""
        if not self.text_of(name):
            return
        if stop and self.runs():
            self._run(where, "systemctl", "stop", name)
        self._run(where, "systemctl", "disable", "--quiet", name)
        self._remove_file(name)
        if self.runs():
            self._run(where, "systemctl", "daemon-reload")

    def drop_ins(self, store_path):
        """list of str: the services' drop-ins that vm.yml has written for this store (str)."""
        found = sorted(glob.glob(os.path.join(glob.escape(self._units), "*.d", DROP_IN)))
        return [path for path in found if _is_drop_in_for(path, store_path)]

    def remove_drop_ins(self, store_path):
        """Remove them, and the directories that are empty then."""
        for path in self.drop_ins(store_path):
            os.unlink(path)
            directory = os.path.dirname(path)
            _sync(directory)
            with contextlib.suppress(OSError):  # not empty: the administrator's
                os.rmdir(directory)
        if self.runs():
            self._run(store_path, "systemctl", "daemon-reload")

    def _enabled(self, unit):
        return os.path.join(self._units, "{}.{}".format(unit.target, unit.pull), unit.name)

    def _remove_file(self, name):
        os.unlink(os.path.join(self._units, name))
        _sync(self._units)

    def _text(self, name):
        try:
            with open(os.path.join(self._units, name), encoding="utf-8", errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def _run(self, where, *command):
        try:
            done = self._call(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True, check=False)
        except OSError as error:
            raise LinkError(
                where, "{} cannot be run: {}".format(command[0], error.strerror), "Use the method symlink."
            ) from error
        if done.returncode:
            said = " ".join(printable(line) for line in done.stderr.splitlines())
            raise LinkError(where, "{} failed: {}".format(" ".join(command), said or done.returncode), SEE_SYSTEMD)
        return done.stdout


def _is_drop_in_for(path, store_path):
    wanted = "AssertPathExists={}/.cm_persist/record.json".format(store_path.replace("%", "%%"))
    with open(path, errors="surrogateescape") as file:
        lines = file.read().splitlines()
    return bool(lines) and lines[0].startswith(OURS) and wanted in lines


def _sync(directory):
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
