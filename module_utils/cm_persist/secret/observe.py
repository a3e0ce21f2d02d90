# SPDX-License-Identifier: Apache-2.0
"""Observe the source and the target of the credentials, and whether programs can use them."""

import base64
import contextlib
import json
import os
import pwd
import stat
from typing import List, NamedTuple, Optional, Tuple

from ..errors import AS_ROOT, SecretError, because
from ..fs.dirfd import Opened, same_mount
from ..fs.mkdirs import nearest_directory
from ..fs.node import DIRECTORY, Node, ParentDir
from ..host.mounts import Mount, real_path

TOKEN = "token"
USUAL = (TOKEN, "ca.crt", "namespace")  # the files that kubelet mounts and clients read
LARGEST_TOKEN = 1 << 20  # bytes, as many as a Secret can hold
# Kubelet renews a token when 80 % of its lifetime are over, so a token with less than this share left is not renewed.
LEFT_IN_DOUBT, SHORTEST = 0.1, 600  # share of the lifetime; and the seconds left if the token does not say when it was issued
FRESH, EXPIRES_SOON, EXPIRED = "fresh", "expires soon", "expired"


class Credentials(NamedTuple):
    """The credentials in a directory, as they were seen."""

    missing: Tuple[str, ...] = ()  # names that are not a regular file, after links are followed
    unreadable: Tuple[Tuple[str, str], ...] = ()  # (name, reason) of files that the user cannot read
    barred: str = ""  # why the user cannot enter the directory, '' if it can
    unchecked: str = ""  # why it is not known whether the user can read them, '' if it is or no user was given
    age: str = FRESH  # FRESH (also for a token without a time), EXPIRES_SOON or EXPIRED
    sub_path: bool = False  # mounted with subPath: kubelet does not renew them


class SecretSeen(NamedTuple):
    """The source and the target, as they were seen."""

    source: Optional[Credentials]  # of the target if something is mounted there; None if the source does not exist
    target: Node
    mounted: bool = False  # something is mounted at the target, and not hidden
    parents: bool = True  # the directory of the target exists


def observe(settings, mounts: List[Mount], now: float) -> SecretSeen:
    """The source and the target at a time in seconds since 1970; a SecretError if the source exists and is no directory."""
    with ParentDir(settings.target) as parent:
        target, exists = parent.look_inside(), parent.fd is not None
        mounted = target.kind == DIRECTORY and _is_mount_point(parent)
    if not mounted and not _source_exists(settings.source):
        return SecretSeen(None, target, False, exists)
    entered = settings.target if mounted else nearest_directory(os.path.dirname(settings.target))
    source = settings.target if mounted else settings.source
    return SecretSeen(_inspect(settings, source, entered, mounts, now), target, mounted, exists)


def _inspect(settings, directory, entered, mounts, now):
    names = [*settings.required_files, *(name for name in USUAL if name not in settings.required_files)]
    paths = {name: os.path.join(directory, name) for name in names}
    missing = tuple(name for name in names if not os.path.isfile(paths[name]))
    files = [name for name in names if name not in missing]
    unchecked, barred, errors = "", 0, []
    if settings.user:
        unchecked, barred, errors = _try_as(settings.user, entered, [paths[name] for name in files])
    unreadable = tuple((name, os.strerror(number)) for name, number in zip(files, errors) if number)
    return Credentials(
        missing=missing,
        unreadable=unreadable,
        barred=os.strerror(barred) if barred else "",
        unchecked=unchecked,
        age=_age(paths.get(TOKEN), now),
        sub_path=_has_sub_path(directory, paths, mounts),
    )


def _is_mount_point(parent):
    # By its descriptor: the mount table still lists a mount that a later one on /run has hidden.
    with Opened(os.open(parent.name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent.fd)) as fd:
        return not same_mount(fd, parent.fd)


def _source_exists(source):
    try:
        status = os.stat(source)
    except FileNotFoundError:
        if os.path.islink(source):
            raise SecretError(source, "it is a dangling symbolic link", "Mount the service account's Secret there.") from None
        return False
    except OSError as error:
        raise SecretError(source, "it cannot be looked at: {}".format(because(error)), AS_ROOT) from error
    if not stat.S_ISDIR(status.st_mode):
        raise SecretError(source, "it is not a directory", "Mount the service account's Secret as a directory, without subPath.")
    return True


def _try_as(user, directory, paths) -> Tuple[str, int, List[int]]:
    """Why this could not be tried, the errno of entering the directory, and that of reading each file; 0 is success."""
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        return "there is no user {}".format(user), 0, []
    if os.geteuid() not in (0, entry.pw_uid):
        return "only root can look for user {}".format(user), 0, []
    # Only the kernel knows for sure: modes, ACLs, and every directory on the way. So a child becomes that user.
    answer = _in_child(lambda: json.dumps(_errors_as(entry, directory, paths)).encode())
    if not answer:
        return "this process may not become user {}".format(user), 0, []
    barred, *errors = json.loads(answer.decode())
    return "", barred, errors


def _in_child(act) -> bytes:
    """The bytes that act() returns in a child process; none if it failed there."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(reader)
            os.write(writer, act())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as file:
        answer = file.read()
    os.waitpid(child, 0)
    return answer


def _errors_as(entry, directory, paths) -> List[int]:
    if os.geteuid() != entry.pw_uid:
        os.initgroups(entry.pw_name, entry.pw_gid)
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)
    return [
        _errno_of(lambda: os.stat(os.path.join(directory, "."))),
        *(_errno_of(lambda path=path: os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))) for path in paths),
    ]


def _errno_of(call):
    try:
        call()
    except OSError as error:
        return error.errno
    return 0


def _age(path, now):
    claims = _claims(path) if path else {}
    end, issued = _number(claims.get("exp")), _number(claims.get("iat"))
    if end is None:
        return FRESH  # the token of a Secret lasts as long as the Secret
    if now >= end:
        return EXPIRED
    lifetime = end - issued if issued is not None and issued < end else SHORTEST / LEFT_IN_DOUBT
    return EXPIRES_SOON if end - now < lifetime * LEFT_IN_DOUBT else FRESH


def _number(value) -> Optional[float]:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:  # JSON has no largest number
        return None


def _claims(path):
    # A JSON Web Token (RFC 7519) has three parts in base64url; the second has its claims. Any other token has none that we know.
    with contextlib.suppress(OSError, ValueError, IndexError, RecursionError):
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(fd, "rb") as file:
            if stat.S_ISREG(os.fstat(fd).st_mode):
                part = file.read(LARGEST_TOKEN).split(b".")[1]
                claims = json.loads(base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4)).decode("utf-8"))
                return claims if isinstance(claims, dict) else {}
    return {}


def _has_sub_path(directory, paths, mounts):
    # A subPath is mounted as the file or directory that it leads to: the file itself, or the directory that ..data led to at the
    # start (its name is a time, after two dots).
    files = {real_path(os.path.join(os.path.realpath(directory), name)) for name in paths}
    at = os.path.realpath(directory)
    for mount in mounts:
        generation = any(part.startswith("..") for part in mount.root.split("/"))
        if mount.mount_point in files or (mount.mount_point == at and generation):
            return True
    return False
