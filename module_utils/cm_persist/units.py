# SPDX-License-Identifier: Apache-2.0
"""Bind mounts that survive a reboot: mount units of systemd (systemd.mount(5)), on machines where it runs."""

import os
import subprocess
from typing import NamedTuple

from .durable import write_file
from .errors import LinkError, printable

# AssertPathExists: systemd would make what is missing, and mount an empty directory where the volume is not there (mkdir_p of
# What= in mount_enter_mounting(), src/core/mount.c). RequiredBy: as for a line of fstab without nofail, the machine must not go
# on to its services with older content at the path. That the mount follows the store's, systemd sees from What= itself.
TEXT = """# Made by cm_persist (persist_link, method bind); it goes with state: unlinked.
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


class Unit(NamedTuple):
    """A mount unit: name as systemctl takes it, text its file's, and whether it is installed just so."""

    name: str
    text: str = ""
    current: bool = False


class Systemd:
    """The systemd of this machine.

    Args:
        units (str): the directory of the administrator's units.
        running (str): exists while systemd manages the machine; before a container's init it does not (sd_booted(3)).
        call (callable): as subprocess.run.
    """

    def __init__(self, units="/etc/systemd/system", running="/run/systemd/private", call=subprocess.run):
        self._units, self._running, self._call = units, running, call

    def runs(self):
        """bool: whether it does."""
        return os.path.exists(self._running)

    def look(self, where, what, network):
        """Look at the mount unit of a state path.

        Args:
            where (str): the state path.
            what (str): its place in the store.
            network (bool): whether the store comes over a network, and so only later in a boot.

        Returns:
            Unit: as it should be, and whether it is.
        """
        for path in (where, what):
            if not path.isprintable() or path != path.strip():
                hint = "Use the method symlink for it."
                raise LinkError(where, "a mount unit cannot name {}".format(printable(path)), hint)
        target = "remote-fs.target" if network else "local-fs.target"
        # % begins a specifier in a unit file, and nothing else means anything in the value of these settings.
        text = TEXT.format(
            where=where.replace("%", "%%"),
            what=what.replace("%", "%%"),
            options="bind,_netdev" if network else "bind",
            target=target,
        )
        name = self.name(where)
        enabled = os.path.join(self._units, target + ".requires", name)
        return Unit(name, text, self._text(name) == text and os.path.islink(enabled))

    def name(self, where):
        """str: the only name that the mount unit of a path may have."""
        return self._run(where, "systemd-escape", "--path", "--suffix=mount", where).strip()

    def install(self, unit, where):
        """Write a unit's file and start it, now and at each boot. where (str) is the state path, for errors."""
        directory = self._open()
        try:
            write_file(directory, os.fsencode(unit.name), unit.text.encode("utf-8"), mode=0o644)
        finally:
            os.close(directory)
        self._run(where, "systemctl", "daemon-reload")
        self._run(where, "systemctl", "enable", "--quiet", unit.name)
        self._run(where, "systemctl", "start", unit.name)

    def remove(self, name, where):
        """Remove a unit of this name (str), if there is one, from the next boot on; where as for install()."""
        if self._text(name) is None:
            return
        self._run(where, "systemctl", "disable", "--quiet", name)
        directory = self._open()
        try:
            os.unlink(os.fsencode(name), dir_fd=directory)
            os.fsync(directory)
        finally:
            os.close(directory)
        if self.runs():
            self._run(where, "systemctl", "daemon-reload")

    def _open(self):
        return os.open(self._units, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def _text(self, name):
        try:
            with open(os.path.join(self._units, name), encoding="utf-8", errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def _run(self, where, *command):
        try:
            done = self._call(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
        except OSError as error:
            raise LinkError(
                where, "{} cannot be run: {}".format(command[0], error.strerror), "Use the method symlink."
            ) from error
        if done.returncode:
            said = " ".join(printable(line) for line in done.stderr.splitlines())
            hint = "See what journalctl -u {} says, mend the cause, then start again.".format(command[-1])
            raise LinkError(where, "{} failed: {}".format(" ".join(command), said or done.returncode), hint)
        return done.stdout
