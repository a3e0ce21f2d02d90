# SPDX-License-Identifier: Apache-2.0
"""A service account's credentials as they lie in a directory: whether they can be used, without telling what they are.

Nothing of a file's content leaves this file: neither in a result nor in an exception.
"""

import base64
import contextlib
import json
import os
import pwd
import stat
from typing import NamedTuple, Tuple

from ..host.mounts import real_path

TOKEN = "token"
USUAL = (TOKEN, "ca.crt", "namespace")  # what kubelet mounts, and clients look for
LARGEST_TOKEN = 1 << 20  # bytes, as many as a Secret can hold
# Kubelet renews a token once 80 % of its time are over, so one that is renewed never gets here.
LEFT_IN_DOUBT, SHORTEST = 0.1, 600  # of its time; and its time in seconds where it does not tell when it began
FRESH, EXPIRES_SOON, EXPIRED = "fresh", "expires soon", "expired"


class Credentials(NamedTuple):
    """What was found in a directory.

    Attributes:
        missing (tuple of str): names of those looked for that are no regular file, after links are followed.
        unreadable (tuple): (name, reason) of those that the user cannot read.
        barred (str): why the user cannot get to where they are to be found, '' if nothing is in the way.
        unchecked (str): why it was not looked whether the user can read them, '' if it was or nobody asked.
        age (str): FRESH (also where the token tells no time), EXPIRES_SOON or EXPIRED.
        sub_path (bool): whether they were mounted with subPath, and so stay as they are until the container ends.
    """

    missing: Tuple[str, ...] = ()
    unreadable: Tuple[Tuple[str, str], ...] = ()
    barred: str = ""
    unchecked: str = ""
    age: str = FRESH
    sub_path: bool = False


def inspect(directory, names, user, mounts, now, way=None):
    """Look at credentials.

    Args:
        directory (str): an existing directory.
        names (iterable of str): the files to look for.
        user (str): the name of the user who has to read them; '' for nobody.
        mounts (list of Mount): the mount table.
        now (float): seconds since the epoch.
        way (str): a further directory that this user has to get through.

    Returns:
        Credentials: what can be said of them.
    """
    paths = {name: os.path.join(directory, name) for name in names}
    missing = tuple(name for name in names if not os.path.isfile(paths[name]))
    there = [name for name in names if name not in missing]
    unchecked, barred, errors = _ask_as(user, way or directory, [paths[name] for name in there]) if user else ("", 0, [])
    unreadable = tuple((name, os.strerror(number)) for name, number in zip(there, errors) if number)
    return Credentials(
        missing=missing,
        unreadable=unreadable,
        barred=os.strerror(barred) if barred else "",
        unchecked=unchecked,
        age=_age(paths.get(TOKEN), now),
        sub_path=_has_sub_path(directory, paths, mounts),
    )


def _ask_as(user, way, paths):
    # tuple: why nothing could be asked, the errno of entering a directory, and that of reading each file; 0 is success
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        return "there is no user {}".format(user), 0, []
    if os.geteuid() not in (0, entry.pw_uid):
        return "only root can look for user {}".format(user), 0, []
    # The one sure answer is the kernel's: modes, ACLs, and every directory on the way. So a child becomes that user.
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(reader)
            os.write(writer, json.dumps(_errors_as(entry, way, paths)).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as answer:
        said = answer.read()
    os.waitpid(child, 0)
    if not said:
        return "this process may not become user {}".format(user), 0, []
    barred, *errors = json.loads(said.decode())
    return "", barred, errors


def _errors_as(entry, way, paths):
    if os.geteuid() != entry.pw_uid:
        os.initgroups(entry.pw_name, entry.pw_gid)
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)
    return [
        _errno_of(lambda: os.stat(os.path.join(way, "."))),
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
    end, begin = _number(claims.get("exp")), _number(claims.get("iat"))
    if end is None:
        return FRESH  # the token of a Secret lasts as long as the Secret
    if now >= end:
        return EXPIRED
    lifetime = end - begin if begin is not None and begin < end else SHORTEST / LEFT_IN_DOUBT
    return EXPIRES_SOON if end - now < lifetime * LEFT_IN_DOUBT else FRESH


def _number(value):
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:  # JSON has no largest number
        return None


def _claims(path):
    # A JSON Web Token (RFC 7519) is three parts in base64url, the second of them what it claims. One that is anything else
    # is not ours to judge.
    with contextlib.suppress(OSError, ValueError, IndexError, RecursionError):
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(fd, "rb") as file:
            if stat.S_ISREG(os.fstat(fd).st_mode):
                part = file.read(LARGEST_TOKEN).split(b".")[1]
                claims = json.loads(base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4)).decode("utf-8"))
                return claims if isinstance(claims, dict) else {}
    return {}


def _has_sub_path(directory, paths, mounts):
    # A subPath is mounted as the file or directory that it leads to: the file itself, or what ..data led to at the start
    # (a directory named by the time, with two dots in front).
    files = {real_path(os.path.join(os.path.realpath(directory), name)) for name in paths}
    at = os.path.realpath(directory)
    for mount in mounts:
        generation = any(part.startswith("..") for part in mount.root.split("/"))
        if mount.mount_point in files or (mount.mount_point == at and generation):
            return True
    return False
