# SPDX-License-Identifier: Apache-2.0
"""Label the store, on machines where SELinux is enabled. Elsewhere, as in containers, there is nothing to do.

A copy keeps its labels, but the policy does not know the store: directories above a copy get labels that services may not pass,
and the next relabelling would remove the labels of the copies. So cm_persist has the policy label the store like /
(semanage-fcontext(8), equivalence), and labels its content accordingly (restorecon(8)).
"""

import contextlib
import os
import shutil
import subprocess
from typing import Iterable, NamedTuple, Optional, Tuple

from ..errors import StoreError, printable
from ..plan import Decision
from .mounts import Mount

PACKAGE = "Install it (EL 8 and later and Debian: policycoreutils-python-utils, EL 7: policycoreutils-python)."


class Labels(NamedTuple):
    """The labels of the store, as they were seen."""

    enabled: bool = False  # SELinux is
    held: bool = False  # the file system of the store has labels
    fixed: bool = False  # it is mounted with one label for all files (context=)
    equal: bool = False  # the policy has a rule for the store
    done: bool = False  # the top directory of the store has been labelled since
    lacking: Tuple[str, ...] = ()  # programs that are needed and not installed


class LabelStore(NamedTuple):
    """Commands for the store: add a rule to the policy, by which it is labelled like /; or label its content by the policy."""

    store: str
    commands: Tuple[Tuple[str, ...], ...]

    def describe(self):
        return "; ".join(" ".join(map(printable, command)) for command in self.commands)

    def execute(self, run):
        for command in self.commands:
            run.selinux.call(self.store, command)


class Selinux:
    """The SELinux of this machine: fs is the mount point of its file system, configuration the directory of its policies."""

    def __init__(
        self, fs="/sys/fs/selinux", configuration="/etc/selinux", run=subprocess.run, which=shutil.which, getxattr=os.getxattr
    ):
        self._fs, self._configuration, self._run, self._which, self._getxattr = fs, configuration, run, which, getxattr

    def observe(self, store_path: str, mount: Optional[Mount]) -> Labels:
        """The labels of the store, which is on this mount; all False if SELinux is not enabled, or cannot be set from here."""
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

    def call(self, store_path: str, command: Tuple[str, ...]) -> None:
        """Run a command for the store; its failure is a StoreError."""
        try:
            environment = dict(os.environ, PATH=_path())
            done = self._run(
                command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True, check=False
            )
        except OSError as error:
            raise StoreError(store_path, "{} cannot be run: {}".format(command[0], error.strerror), PACKAGE) from error
        if done.returncode:
            output = " ".join(printable(line) for line in done.stdout.splitlines()[-3:])
            found = "{} failed: {}".format(" ".join(map(printable, command)), output or done.returncode)
            raise StoreError(store_path, found, "Fix the cause, then start again; it goes on from there.")

    def _has_rule(self, store_path):
        # The equivalences of semanage, in each line a path and the one that it is like. A rule of the administrator counts too.
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
    # After su, PATH may still be that of the user.
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def plan_labels(store_path: str, labels: Labels, tops: Iterable[str], filled: bool, read_only: bool) -> Decision:
    """The steps that label the store, and warnings; a StoreError if a program that is needed is not installed.

    tops are the first components of the state paths in the store; filled says that this run puts data into the store.
    """
    if not labels.enabled:
        return Decision()
    if not labels.held:
        text = "SELinux is enabled, and its file system keeps no labels; mount it with one that the services may use (context=)."
        return Decision() if labels.fixed else Decision(warnings=("{}: {}".format(printable(store_path), text),))
    steps = []
    if not labels.equal:
        steps.append(LabelStore(store_path, (("semanage", "fcontext", "--add", "--equal", "/", store_path),)))
    if not read_only and (filled or not (labels.equal and labels.done)):
        places = ["{}/{}".format(store_path, top) for top in sorted(set(tops))]
        below = [("restorecon", "-R", "--", *places)] if places else []
        # The top of the store last: its label shows that all are done.
        steps.append(LabelStore(store_path, (*below, ("restorecon", "--", store_path))))
    if steps and labels.lacking:
        lacking = " and ".join(labels.lacking)
        found = "SELinux is enabled, and {} is not installed, so the store cannot be labelled".format(lacking)
        raise StoreError(store_path, found, PACKAGE)
    return Decision(tuple(steps))
