# SPDX-License-Identifier: Apache-2.0
import pytest

from module_utils.cm_persist.errors import SecretError
from module_utils.cm_persist.places import DIRECTORY, FILE, LINK, OTHER, Place
from module_utils.cm_persist.secret import SecretSeen, Settings, plan_secret

WANTED = Settings("/secret", "/run/account")
FULL, EMPTY = Place(DIRECTORY), Place(DIRECTORY, empty=True)

PLANS = {
    "nothing at the target": (SecretSeen(True, Place()), "linked", ["PutLink"]),
    "nothing above the target": (SecretSeen(True, Place(), parents=False), "linked", ["MakeParents", "PutLink"]),
    "an empty directory": (SecretSeen(True, EMPTY), "linked", ["RemoveEmptyTarget", "PutLink"]),
    "a link to elsewhere": (SecretSeen(True, Place(LINK, "/else")), "linked", ["PutLink"]),
    "linked": (SecretSeen(True, Place(LINK, "/secret")), "already", []),
    "mounted": (SecretSeen(True, FULL, mounted=True), "mounted", []),
    "mounted, and no copy": (SecretSeen(False, FULL, mounted=True), "mounted", []),
    "no source": (SecretSeen(False, Place()), "absent", []),
    "no source, and something at the target": (SecretSeen(False, FULL), "absent", []),
}


@pytest.mark.parametrize("case", PLANS)
def test_plan(case):
    found, state, expected = PLANS[case]
    outcome, steps = plan_secret(WANTED, found)
    assert outcome.state == state and outcome.changed == bool(steps) and outcome.message
    assert [type(step).__name__ for step in steps] == expected
    assert outcome.steps == [step.describe() for step in steps] and all("/run/account" in text for text in outcome.steps)


REFUSALS = {
    "a directory with content": (WANTED, SecretSeen(True, FULL), "/run/account"),
    "a file": (WANTED, SecretSeen(True, Place(FILE)), "/run/account"),
    "a device": (WANTED, SecretSeen(True, Place(OTHER)), "/run/account"),
    "no source, required": (WANTED._replace(required=True), SecretSeen(False, Place()), "/secret"),
    "the same": (Settings("/secret", "/secret"), SecretSeen(True, FULL), "/secret"),
    "the target in the source": (Settings("/secret", "/secret/a"), SecretSeen(True, Place()), "/secret/a"),
    "the source in the target": (Settings("/secret/a", "/secret"), SecretSeen(True, FULL), "/secret"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusal(case):
    settings, found, named = REFUSALS[case]
    with pytest.raises(SecretError) as refusal:
        plan_secret(settings, found)
    assert refusal.value.path == named and named in str(refusal.value) and refusal.value.hint.endswith(".")
