# SPDX-License-Identifier: Apache-2.0
"""Ansible gets results, warnings and failures from one place."""

import pytest

from module_utils.cm_persist import errors
from module_utils.cm_persist.module_result import exit_module
from module_utils.cm_persist.plan import Outcome
from module_utils.cm_persist.secret.secret import SecretOutcome


class LeftError(Exception):
    """The module has ended: with these results."""


class Module:
    """What exit_module() uses of an AnsibleModule."""

    def __init__(self, diff=False):
        self._diff, self.warned = diff, []

    def warn(self, text):
        self.warned.append(text)

    def exit_json(self, **results):
        raise LeftError("exit", results)

    def fail_json(self, **results):
        raise LeftError("fail", results)


def reported(act, diff=False):
    module = Module(diff)
    with pytest.raises(LeftError) as left:
        exit_module(module, act)
    return (*left.value.args, module.warned)


OUTCOME = Outcome(True, "empty", ["copy a", "publish a"], [{"path": "/a"}], ["careful"], "done")


def test_results_and_warnings():
    how, results, warned = reported(lambda: OUTCOME)
    assert how == "exit" and warned == ["careful"]
    expected = {"changed": True, "store_state": "empty", "steps": OUTCOME.steps, "paths": OUTCOME.paths, "msg": "done"}
    assert results == expected


def test_the_diff_is_the_list_of_steps():
    _how, results, _warned = reported(lambda: OUTCOME, diff=True)
    assert results["diff"] == {"prepared": "+ copy a\n+ publish a\n"}


def test_a_secret_is_told_alike():
    outcome = SecretOutcome(False, "already", [], ["it expires soon"], "it is linked")
    _how, results, warned = reported(lambda: outcome)
    assert warned == ["it expires soon"]
    assert results == {"changed": False, "state": "already", "steps": [], "msg": "it is linked"}


KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.PersistError)]


@pytest.mark.parametrize("kind", KINDS)
def test_each_typed_error_is_a_failure_with_path_and_remedy(kind):
    def act():
        raise kind("/a", "it is blue", "Paint it.", store_state="newer")

    how, results, _warned = reported(act)
    expected = {"msg": "/a: it is blue. Paint it.", "where": "/a", "hint": "Paint it.", "store_state": "newer"}
    assert (how, results) == ("fail", expected)


def test_what_else_a_failed_run_has_to_say_is_said():
    def act():
        error = errors.LinkError("/a", "it is blue", "Paint it.")
        error.warnings = ["/b: newer content is kept at /b-initial.1."]
        raise error

    how, _results, warned = reported(act)
    assert how == "fail" and warned == ["/b: newer content is kept at /b-initial.1."]


def test_an_error_of_our_own_is_not_dressed_up():
    def act():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        exit_module(Module(), act)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/a b/é", "/a b/é"), (b"/caf\xc3\xa9", "/café"), ("/new\nline\x1b", "/new\\nline\\x1b"),
        (b"/latin-\xe9", "/latin-\\udce9"), ("/\udce9", "/\\udce9"),
    ],
)  # fmt: skip
def test_a_path_can_always_be_printed(path, expected):
    assert errors.printable(path) == expected
    errors.printable(path).encode("utf-8")
