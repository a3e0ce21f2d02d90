# SPDX-License-Identifier: Apache-2.0
"""Link the place where Kubernetes mounts its API credentials to a copy of them that init has not hidden."""

import os
import stat
from typing import List, NamedTuple, Tuple

from .errors import SecretError, because
from .mounts import read_mounts
from .places import DIRECTORY, LINK, NONE, ImageParent, Place, make_parents
from .spec import inside, normalise


class Settings(NamedTuple):
    """The module's options, as secret_link documents them."""

    source: str
    target: str
    required_files: Tuple[str, ...] = ("token",)
    required: bool = False


class SecretSeen(NamedTuple):
    """What was found: whether the source is there at all, and what stands at the target.

    mounted says that the target is a mount point with the required files in it, parents whether its directory exists.
    """

    source_exists: bool
    target: Place
    mounted: bool = False
    parents: bool = True


class SecretOutcome(NamedTuple):
    """changed, state (absent, mounted, already, linked), the steps as they read, and a sentence for the log."""

    changed: bool
    state: str
    steps: List[str]
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
        with ImageParent(self.target) as parent:
            beside = b"." + parent.name + b".cm_persist"
            if parent.look(beside).kind == LINK:
                os.unlink(beside, dir_fd=parent.fd)
            os.symlink(self.source, beside, dir_fd=parent.fd)
            os.rename(beside, parent.name, src_dir_fd=parent.fd, dst_dir_fd=parent.fd)


def link_secret(settings, rehearse=False, mounts=None):
    """Make the credentials readable at the target again.

    Args:
        settings (Settings): what the user wants.
        rehearse (bool): plan only, change nothing (check mode).
        mounts (list of Mount): the mount table; None reads the kernel's.

    Returns:
        SecretOutcome: what was done, or would be. It holds paths only, nothing of the credentials.

    Raises:
        PersistError: a refusal, in which case nothing was changed, or a failure.
    """
    source, target = normalise(settings.source, "the source"), normalise(settings.target, "the target")
    settings = settings._replace(source=source, target=target)
    seen = observe(settings, read_mounts() if mounts is None else mounts)
    outcome, steps = plan_secret(settings, seen)
    if not rehearse:
        for step in steps:
            try:
                step.execute()
            except OSError as error:
                raise SecretError(
                    target, "cannot {}: {}".format(step.describe(), because(error)), "Run as root (become: true)."
                ) from error
    return outcome


def observe(settings, mounts):
    """Look at source and target.

    Returns:
        SecretSeen: what is there.

    Raises:
        SecretError: the source is there, but is not what credentials look like.
    """
    with ImageParent(settings.target) as parent:
        place, exists = parent.look_inside(), parent.fd is not None
    at_target = any(mount.mount_point == os.path.realpath(settings.target) for mount in mounts)
    live = place.kind == DIRECTORY and at_target and not _missing_files(settings.target, settings.required_files)
    return SecretSeen(_check_source(settings), place, live, exists)


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
        return SecretOutcome(False, "mounted", [], "the credentials are mounted at {}, nothing hides them".format(target)), []
    if not seen.source_exists:
        if settings.required:
            raise SecretError(source, "there are no credentials", "Mount the service account's Secret there.")
        return SecretOutcome(False, "absent", [], "no credentials here: {} does not exist".format(source)), []
    place, steps = seen.target, []
    if place.kind == LINK and place.target == source:
        return SecretOutcome(False, "already", [], "{} is linked to {}".format(target, source)), []
    if place.kind == DIRECTORY and place.empty:
        steps.append(RemoveEmptyTarget(target))
    elif place.kind not in (NONE, LINK):
        found = "there is a directory with content" if place.kind == DIRECTORY else "there is a {}".format(place.kind)
        raise SecretError(target, found, "Find out what put it there; move it away, then run secret.yml again.")
    if not seen.parents:
        steps.append(MakeParents(target))
    steps.append(PutLink(source, target))
    described = [step.describe() for step in steps]
    return SecretOutcome(True, "linked", described, "linked {} to {}".format(target, source)), steps


def _check_source(settings):
    source = settings.source
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
    missing = _missing_files(source, settings.required_files)
    if missing:
        raise SecretError(
            source, "it lacks {}".format(", ".join(missing)), "Mount a Secret of the type service-account-token there."
        )
    return True


def _missing_files(directory, names):
    return [name for name in names if not os.path.isfile(os.path.join(directory, name))]
