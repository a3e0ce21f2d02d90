# SPDX-License-Identifier: Apache-2.0
"""Decide how to link the credentials. No disk is touched here."""

from typing import List

from ..errors import SecretError
from ..fs.node import DIRECTORY, LINK, NONE
from ..paths import inside
from ..plan import Decision
from .observe import EXPIRED, EXPIRES_SOON, Credentials, SecretSeen
from .steps import MakeParents, PutLink, RemoveEmptyTarget

READABLE = "Have the Secret mounted with defaultMode 0444, or name the user who needs it in cm_persist_secret_user."


def plan_secret(settings, seen: SecretSeen) -> Decision:
    """The steps for these settings (Settings), with the state and the message of the outcome as the result, and warnings."""
    source, target = settings.source, settings.target
    if inside(source, target) or inside(target, source):
        hint = "Mount the credentials' copy elsewhere."
        raise SecretError(target, "source {} and target lie in each other".format(source), hint)
    if seen.source is None:
        if settings.required:
            raise SecretError(source, "there are no credentials", "Mount the service account's Secret there.")
        return _decision("absent", "no credentials here: {} does not exist".format(source))
    path, hint = source, "Mount a Secret of the type service-account-token there."
    if seen.mounted:
        path, hint = target, "It cannot be replaced: have a service account's credentials mounted there, or nothing."
    _refuse_unusable(settings, seen.source, path, hint)
    warnings = _warnings(settings, seen.source, path)
    if seen.mounted:
        return _decision("mounted", "the credentials are mounted at {}, nothing hides them".format(target), warnings)
    if seen.target.kind == LINK and seen.target.target == source:
        return _decision("already", "{} is linked to {}".format(target, source), warnings)
    return _decision("linked", "linked {} to {}".format(target, source), warnings, _steps(source, target, seen))


def _decision(state, message, warnings=(), steps=()):
    return Decision(tuple(steps), {"state": state, "message": message}, tuple(warnings))


def _steps(source, target, seen):
    node, steps = seen.target, []
    if node.kind == DIRECTORY and node.empty:
        steps.append(RemoveEmptyTarget(target))
    elif node.kind not in (NONE, LINK):
        found = "there is a directory with content" if node.kind == DIRECTORY else "there is a {}".format(node.kind)
        raise SecretError(target, found, "Find out what put it there; move it away, then run secret.yml again.")
    if not seen.parents:
        steps.append(MakeParents(target))
    return [*steps, PutLink(source, target)]


def _refuse_unusable(settings, found: Credentials, path: str, hint: str) -> None:
    """Refuse credentials at this path that no program can work with."""
    lacking = [name for name in found.missing if name in settings.required_files]
    if lacking:
        raise SecretError(path, "it lacks {}".format(", ".join(lacking)), hint)
    for name, reason in found.unreadable:
        if name in settings.required_files:
            raise SecretError(path, "user {} cannot read {}: {}".format(settings.user, name, reason), READABLE)
    if found.barred:
        hint = "Make every directory above it one that all can enter, or name another user in cm_persist_secret_user."
        raise SecretError(settings.target, "user {} cannot get there: {}".format(settings.user, found.barred), hint)


def _warnings(settings, found: Credentials, path: str) -> List[str]:
    warnings = []
    if found.missing:
        warnings.append("it lacks {}; programs that look for it will fail".format(", ".join(found.missing)))
    for name, reason in found.unreadable:
        warnings.append("user {} cannot read {}: {}. {}".format(settings.user, name, reason, READABLE))
    if found.unchecked:
        warnings.append("{}, so it was not checked who can read the credentials (cm_persist_secret_user)".format(found.unchecked))
    if found.age == EXPIRED:
        warnings.append("the token has expired; mount one that is renewed, such as a projected serviceAccountToken")
    elif found.age == EXPIRES_SOON:
        warnings.append("the token expires soon, and should have been renewed by now; see what keeps kubelet from it")
    if found.sub_path:
        warnings.append("it is mounted with subPath, which never follows a renewed token; mount the whole volume")
    return ["{}: {}".format(path, warning) for warning in warnings]
