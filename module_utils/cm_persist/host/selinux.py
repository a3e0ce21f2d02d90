# SPDX-License-Identifier: Apache-2.0
"""Labels of what lies in the store, on machines where SELinux is enabled; elsewhere, as in containers, nothing is done.

A copy keeps its labels, but the policy does not know the store: directories above a copy get labels that services may not pass,
and the next relabelling would take the others away. So the store is told to be labelled like / (semanage-fcontext(8),
equivalence), and what was put into it is labelled so (restorecon(8)).
"""

import contextlib
import os
import shutil
import subprocess
from typing import NamedTuple, Tuple

from ..errors import StoreError, printable

PACKAGE = "Install it (EL 8 and later and Debian: policycoreutils-python-utils, EL 7: policycoreutils-python)."


class Labels(NamedTuple):
    """What was seen.

    Attributes:
        enabled (bool): whether SELinux is.
        held (bool): whether the store's file system holds labels.
        fixed (bool): whether it was mounted with one for all (context=).
        equal (bool): whether the policy has a rule for the store.
        done (bool): whether the store's top directory has been labelled since.
        lacking (tuple of str): programs that are needed and not installed.
    """

    enabled: bool = False
    held: bool = False
    fixed: bool = False
    equal: bool = False
    done: bool = False
    lacking: Tuple[str, ...] = ()


class Equate(NamedTuple):
    """Tell the policy that the store is labelled like /."""

    store: str

    @property
    def command(self):
        """tuple of str: what is run."""
        return ("semanage", "fcontext", "--add", "--equal", "/", self.store)

    def describe(self):
        """str: what will be done."""
        return " ".join(map(printable, self.command))

    def execute(self, run):
        """Do it."""
        run.selinux.call(self.store, self.command)


class Relabel(NamedTuple):
    """Label what lies at these places as the policy says. The store's top comes last: it shows that this came to its end."""

    store: str
    places: Tuple[str, ...]

    @property
    def commands(self):
        """tuple: what is run, in this order."""
        below = ("restorecon", "-R", "--", *self.places)
        return (below, ("restorecon", "--", self.store)) if self.places else (("restorecon", "--", self.store),)

    def describe(self):
        """str: what will be done."""
        return "; ".join(" ".join(map(printable, command)) for command in self.commands)

    def execute(self, run):
        """Do it."""
        for command in self.commands:
            run.selinux.call(self.store, command)


class Selinux:
    """The SELinux of this machine.

    Args:
        fs (str): where its file system is mounted.
        configuration (str): the directory of its policies.
        run (callable): as subprocess.run.
        which (callable): as shutil.which.
        getxattr (callable): as os.getxattr.
    """

    def __init__(
        self, fs="/sys/fs/selinux", configuration="/etc/selinux", run=subprocess.run, which=shutil.which, getxattr=os.getxattr
    ):
        self._fs, self._configuration, self._run, self._which, self._getxattr = fs, configuration, run, which, getxattr

    def look(self, store_path, mount):
        """Look how the store is labelled.

        Args:
            store_path (str): the store.
            mount (Mount): that it lies on; None where that is not known.

        Returns:
            Labels: all false where SELinux is not enabled, or, as in a container, not for us to work with.
        """
        if not os.access(os.path.join(self._fs, "enforce"), os.W_OK):
            return Labels()
        options = mount.options if mount else ()
        lacking = tuple(program for program in ("semanage", "restorecon") if self._which(program, path=_path()) is None)
        return Labels(
            enabled=True,
            held="seclabel" in options,
            fixed=any("context=" in option for option in options),
            equal=self._has_rule(store_path),
            done=self._type_of(store_path) == self._type_of("/"),
            lacking=lacking,
        )

    def call(self, store_path, command):
        """Run a command (tuple of str); one that fails is a StoreError."""
        try:
            environment = dict(os.environ, PATH=_path())
            done = self._run(
                command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True, check=False
            )
        except OSError as error:
            raise StoreError(store_path, "{} cannot be run: {}".format(command[0], error.strerror), PACKAGE) from error
        if done.returncode:
            said = " ".join(printable(line) for line in done.stdout.splitlines()[-3:])
            found = "{} failed: {}".format(" ".join(map(printable, command)), said or done.returncode)
            raise StoreError(store_path, found, "Mend the cause, then start again; it goes on from there.")

    def _has_rule(self, store_path):
        # What semanage keeps of equivalences, a path and what it is like in each line. One by the administrator is as good.
        rules = os.path.join(self._configuration, self._policy(), "contexts/files/file_contexts.subs")
        with contextlib.suppress(FileNotFoundError), open(rules, errors="surrogateescape") as lines:
            return any(line.split()[:1] == [store_path] for line in lines)
        return False

    def _policy(self):
        with contextlib.suppress(FileNotFoundError), open(os.path.join(self._configuration, "config")) as lines:
            for line in lines:
                name, _equals, value = line.partition("=")
                if name.strip() == "SELINUXTYPE":
                    return value.strip()
        return "targeted"

    def _type_of(self, path):
        try:
            return self._getxattr(path, "security.selinux").rstrip(b"\0").split(b":")[2]
        except (OSError, IndexError):
            return None


def _path():
    # Who became root may still look for programs where users do.
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def plan_labels(store_path, labels, tops, filled, read_only):
    """Decide what is to be done about labels. Pure.

    Args:
        store_path (str): the store.
        labels (Labels): how it is.
        tops (list of str): the first names of the state paths in the store.
        filled (bool): whether something is put into the store by this run.
        read_only (bool): whether the store is.

    Returns:
        tuple: (list of steps, list of str), the second are warnings.

    Raises:
        StoreError: a program that is needed is not installed.
    """
    if not labels.enabled:
        return [], []
    if not labels.held:
        told = (
            "{}: SELinux is enabled, and its file system keeps no labels; mount it with one that the services may use (context=)."
        )
        return [], [] if labels.fixed else [told.format(printable(store_path))]
    steps = [] if labels.equal else [Equate(store_path)]
    if not read_only and (filled or not (labels.equal and labels.done)):
        steps.append(Relabel(store_path, tuple("{}/{}".format(store_path, top) for top in sorted(set(tops)))))
    if steps and labels.lacking:
        found = "SELinux is enabled, and {} is not installed, so the store cannot be labelled".format(
            " and ".join(labels.lacking)
        )
        raise StoreError(store_path, found, PACKAGE)
    return steps, []
