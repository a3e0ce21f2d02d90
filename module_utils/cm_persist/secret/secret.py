# SPDX-License-Identifier: Apache-2.0
"""Link the place where Kubernetes mounts its API credentials to a copy of them that init has not hidden."""

import contextlib
import os
import stat
from typing import List, NamedTuple, Optional, Tuple

from ..errors import SecretError, SpecError, because
from ..fs.dirfd import list_names, same_mount
from ..fs.mkdirs import make_parents
from ..fs.node import DIRECTORY, LINK, NONE, Node, ParentDir
from ..host.machine import THIS_MACHINE
from ..paths import inside, normalise
from .credentials import EXPIRED, EXPIRES_SOON, TOKEN, USUAL, Credentials, inspect

GENERATION = "..data"  # kubelet's link to the files as they are now, replaced whenever they change


class Settings(NamedTuple):
    """The module's options, as secret_link documents them."""

    source: str
    target: str
    required_files: Tuple[str, ...] = (TOKEN,)
    required: bool = False
    user: str = "cfyuser"


class SecretSeen(NamedTuple):
    """What was found.

    Attributes:
        source (Credentials): what is in the source, or, where the target is a mount point, in the target; None where there is
            no such directory.
        target (Node): what stands at the target.
        mounted (bool): whether something is mounted there, and not hidden.
        parents (bool): whether the target's directory exists.
    """

    source: Optional[Credentials]
    target: Node
    mounted: bool = False
    parents: bool = True


class SecretOutcome(NamedTuple):
    """changed, state (absent, mounted, already, linked), the steps as they read, warnings, and a sentence for the log."""

    changed: bool
    state: str
    steps: List[str]
    warnings: List[str]
    message: str


class MakeParents(NamedTuple):
    """Make the directories above the target."""

    target: str

    def describe(self):
        """str: what will be done."""
        return "make the directories above {}, mode 0755".format(self.target)

    def execute(self):
        """Do it."""
        uid, gid = (0, 0) if os.geteuid() == 0 else (-1, -1)
        make_parents(self.target, lambda _path: (uid, gid, 0o755))


class RemoveEmptyTarget(NamedTuple):
    """Remove the empty directory that is left where the credentials were mounted."""

    target: str

    def describe(self):
        """str: what will be done."""
        return "remove the empty directory {}".format(self.target)

    def execute(self):
        """Do it: rmdir refuses should it have got content since."""
        os.rmdir(self.target)


class PutLink(NamedTuple):
    """Make the link, in place of another if there is one."""

    source: str
    target: str

    def describe(self):
        """str: what will be done."""
        return "link {} to {}".format(self.target, self.source)

    def execute(self):
        """Do it: readers find the old link or the new one."""
        with ParentDir(self.target) as parent:
            # The name is this process's own, as the unit that watches the place may do the same just now.
            beside = b"." + parent.name + b".cm_persist-"
            mine = beside + str(os.getpid()).encode()
            for name in list_names(parent.fd):
                if name.startswith(beside) and (name == mine or not os.path.exists(b"/proc/" + name[len(beside) :])):
                    with contextlib.suppress(FileNotFoundError):  # another one clears up as well
                        os.unlink(name, dir_fd=parent.fd)
            os.symlink(self.source, mine, dir_fd=parent.fd)
            os.rename(mine, parent.name, src_dir_fd=parent.fd, dst_dir_fd=parent.fd)


def link_secret(settings, check_mode=False, machine=THIS_MACHINE):
    """Make the credentials readable at the target again.

    Args:
        settings (Settings): what the user wants.
        check_mode (bool): plan only, change nothing (check mode).
        machine (Machine): what it runs on.

    Returns:
        SecretOutcome: what was done, or would be. It holds paths and names only, nothing of the credentials.

    Raises:
        PersistError: a refusal, in which case nothing was changed, or a failure.
    """
    source, target = _directory(settings.source, "the source"), _directory(settings.target, "the target")
    settings = settings._replace(source=source, target=target)
    seen = observe(settings, machine.mounts(), machine.clock.time())
    outcome, steps = plan_secret(settings, seen)
    if not check_mode:
        for step in steps:
            try:
                step.execute()
            except OSError as error:
                raise SecretError(
                    target, "cannot {}: {}".format(step.describe(), because(error)), "Run as root (become: true)."
                ) from error
    return outcome


def observe(settings, mounts, now):
    """Look at source and target.

    Args:
        settings (Settings): normalised.
        mounts (list of Mount): the mount table.
        now (float): seconds since the epoch.

    Returns:
        SecretSeen: what is there.

    Raises:
        SecretError: the source is there, but is no directory.
    """
    with ParentDir(settings.target) as parent:
        place, exists = parent.look_inside(), parent.fd is not None
        mounted = place.kind == DIRECTORY and _is_mount_point(parent)
    names = list(settings.required_files) + [name for name in USUAL if name not in settings.required_files]
    if mounted:
        return SecretSeen(inspect(settings.target, names, settings.user, mounts, now), place, True)
    if not _source_exists(settings.source):
        return SecretSeen(None, place, False, exists)
    way = os.path.dirname(settings.target)
    while not os.path.isdir(way):
        way = os.path.dirname(way)
    return SecretSeen(inspect(settings.source, names, settings.user, mounts, now, way), place, False, exists)


def plan_secret(settings, seen):
    """Decide what to do. Pure: no disk is touched.

    Returns:
        tuple: (SecretOutcome, list of steps).

    Raises:
        SecretError: a refusal.
    """
    source, target = settings.source, settings.target
    if inside(source, target) or inside(target, source):
        raise SecretError(
            target, "source {} and target lie in each other".format(source), "Mount the credentials' copy elsewhere."
        )
    if seen.mounted:
        hint = "It cannot be replaced: have a service account's credentials mounted there, or nothing."
        warnings = _judge(settings, seen.source, target, hint)
        message = "the credentials are mounted at {}, nothing hides them".format(target)
        return SecretOutcome(False, "mounted", [], warnings, message), []
    if seen.source is None:
        if settings.required:
            raise SecretError(source, "there are no credentials", "Mount the service account's Secret there.")
        return SecretOutcome(False, "absent", [], [], "no credentials here: {} does not exist".format(source)), []
    warnings = _judge(settings, seen.source, source, "Mount a Secret of the type service-account-token there.")
    place, steps = seen.target, []
    if place.kind == LINK and place.target == source:
        return SecretOutcome(False, "already", [], warnings, "{} is linked to {}".format(target, source)), []
    if place.kind == DIRECTORY and place.empty:
        steps.append(RemoveEmptyTarget(target))
    elif place.kind not in (NONE, LINK):
        found = "there is a directory with content" if place.kind == DIRECTORY else "there is a {}".format(place.kind)
        raise SecretError(target, found, "Find out what put it there; move it away, then run secret.yml again.")
    if not seen.parents:
        steps.append(MakeParents(target))
    steps.append(PutLink(source, target))
    described = [step.describe() for step in steps]
    return SecretOutcome(True, "linked", described, warnings, "linked {} to {}".format(target, source)), steps


def _judge(settings, found, path, remedy):
    # What no program can do without is refused, the rest is a warning.
    who, required = "user {}".format(settings.user), settings.required_files
    lacking = [name for name in found.missing if name in required]
    if lacking:
        raise SecretError(path, "it lacks {}".format(", ".join(lacking)), remedy)
    readable = "Have the Secret mounted with defaultMode 0444, or name the user who needs it in cm_persist_secret_user."
    for name, reason in found.unreadable:
        if name in required:
            raise SecretError(path, "{} cannot read {}: {}".format(who, name, reason), readable)
    if found.barred:
        hint = "Make every directory above it one that all can enter, or name another user in cm_persist_secret_user."
        raise SecretError(settings.target, "{} cannot get there: {}".format(who, found.barred), hint)
    warnings = []
    if found.missing:
        warnings.append("it lacks {}; programs that look for it will fail".format(", ".join(found.missing)))
    for name, reason in found.unreadable:
        warnings.append("{} cannot read {}: {}. {}".format(who, name, reason, readable))
    if found.unchecked:
        warnings.append("{}, so it was not checked who can read the credentials (cm_persist_secret_user)".format(found.unchecked))
    if found.age == EXPIRED:
        warnings.append("the token has expired; mount one that is renewed, such as a projected serviceAccountToken")
    elif found.age == EXPIRES_SOON:
        warnings.append("the token expires soon, and should have been renewed by now; see what keeps kubelet from it")
    if found.sub_path:
        warnings.append("it is mounted with subPath, which never follows a renewed token; mount the whole volume")
    return ["{}: {}".format(path, warning) for warning in warnings]


def _directory(path, what):
    path = normalise(path, what)
    if GENERATION in path.split("/"):
        raise SpecError(
            path,
            "{} goes through {}, which is another directory once the token is rotated".format(what, GENERATION),
            "Name the directory above it.",
        )
    return path


def _is_mount_point(parent):
    # By what is there now: the mount table still lists a mount that a later one on /run has hidden.
    fd = os.open(parent.name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent.fd)
    try:
        return not same_mount(fd, parent.fd)
    finally:
        os.close(fd)


def _source_exists(source):
    try:
        status = os.stat(source)
    except FileNotFoundError:
        if os.path.islink(source):
            raise SecretError(source, "it is a dangling symbolic link", "Mount the service account's Secret there.") from None
        return False
    except OSError as error:
        raise SecretError(source, "it cannot be looked at: {}".format(because(error)), "Run as root (become: true).") from error
    if not stat.S_ISDIR(status.st_mode):
        raise SecretError(source, "it is not a directory", "Mount the service account's Secret as a directory, without subPath.")
    return True
