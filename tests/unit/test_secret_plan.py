# SPDX-License-Identifier: Apache-2.0
import pytest

from module_utils.cm_persist.errors import SecretError
from module_utils.cm_persist.fs.node import DIRECTORY, FILE, LINK, OTHER, Node
from module_utils.cm_persist.secret.observe import EXPIRED, EXPIRES_SOON, Credentials, SecretSeen
from module_utils.cm_persist.secret.plan import plan_secret
from module_utils.cm_persist.secret.secret import Settings

WANTED = Settings("/secret", "/run/account")
FULL, EMPTY = Node(DIRECTORY), Node(DIRECTORY, empty=True)
GOOD = Credentials()

PLANS = {
    "nothing at the target": (SecretSeen(GOOD, Node()), "linked", ["PutLink"]),
    "nothing above the target": (SecretSeen(GOOD, Node(), parents=False), "linked", ["MakeParents", "PutLink"]),
    "an empty directory": (SecretSeen(GOOD, EMPTY), "linked", ["RemoveEmptyTarget", "PutLink"]),
    "a link to elsewhere": (SecretSeen(GOOD, Node(LINK, "/else")), "linked", ["PutLink"]),
    "linked": (SecretSeen(GOOD, Node(LINK, "/secret")), "already", []),
    "mounted": (SecretSeen(GOOD, FULL, mounted=True), "mounted", []),
    "no source": (SecretSeen(None, Node()), "absent", []),
    "no source, and something at the target": (SecretSeen(None, FULL), "absent", []),
}


@pytest.mark.parametrize("case", PLANS)
def test_plan(case):
    found, state, expected = PLANS[case]
    decision = plan_secret(WANTED, found)
    assert decision.result["state"] == state and decision.result["message"]
    assert [type(step).__name__ for step in decision.steps] == expected
    assert all("/run/account" in step.describe() for step in decision.steps)


UNREADABLE = Credentials(unreadable=(("token", "no"),))
REFUSALS = {
    "a directory with content": (WANTED, SecretSeen(GOOD, FULL), "/run/account"),
    "a file": (WANTED, SecretSeen(GOOD, Node(FILE)), "/run/account"),
    "a device": (WANTED, SecretSeen(GOOD, Node(OTHER)), "/run/account"),
    "no source, required": (WANTED._replace(required=True), SecretSeen(None, Node()), "/secret"),
    "a mount that lacks token": (WANTED, SecretSeen(Credentials(("token",)), FULL, mounted=True), "/run/account"),
    "an empty mount": (WANTED, SecretSeen(Credentials(("token", "ca.crt")), EMPTY, mounted=True), "/run/account"),
    "a source that lacks token": (WANTED, SecretSeen(Credentials(("token",)), Node()), "/secret"),
    "a token that the user cannot read": (WANTED, SecretSeen(UNREADABLE, Node()), "/secret"),
    "the same where it is mounted": (WANTED, SecretSeen(UNREADABLE, FULL, mounted=True), "/run/account"),
    "a way that the user cannot go": (WANTED, SecretSeen(Credentials(barred="no"), Node()), "/run/account"),
    "the same": (Settings("/secret", "/secret"), SecretSeen(GOOD, FULL), "/secret"),
    "the target in the source": (Settings("/secret", "/secret/a"), SecretSeen(GOOD, Node()), "/secret/a"),
    "the source in the target": (Settings("/secret/a", "/secret"), SecretSeen(GOOD, FULL), "/secret"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusal(case):
    settings, found, named = REFUSALS[case]
    with pytest.raises(SecretError) as refusal:
        plan_secret(settings, found)
    assert refusal.value.path == named and named in str(refusal.value) and refusal.value.hint.endswith(".")


WARNINGS = {
    "no ca.crt": (Credentials(("ca.crt", "namespace")), ["lacks ca.crt, namespace"]),
    "a ca.crt that the user cannot read": (Credentials(unreadable=(("ca.crt", "no"),)), ["user cfyuser", "ca.crt: no", "0444"]),
    "no such user": (Credentials(unchecked="there is no user cfyuser"), ["no user cfyuser", "cm_persist_secret_user"]),
    "expired": (Credentials(age=EXPIRED), ["has expired"]),
    "about to expire": (Credentials(age=EXPIRES_SOON), ["expires soon"]),
    "subPath": (Credentials(sub_path=True), ["subPath"]),
}


@pytest.mark.parametrize("mounted", [False, True])
@pytest.mark.parametrize("case", WARNINGS)
def test_warning(case, mounted):
    found, words = WARNINGS[case]
    (warning,) = plan_secret(WANTED, SecretSeen(found, FULL if mounted else Node(), mounted)).warnings
    assert all(word in warning for word in words) and warning.startswith("/run/account: " if mounted else "/secret: ")


def test_good_credentials_are_no_cause_for_a_warning():
    assert plan_secret(WANTED, SecretSeen(GOOD, Node())).warnings == ()
