# SPDX-License-Identifier: Apache-2.0
"""The result of a run for Ansible: results, warnings, and typed errors as failures. No other file calls Ansible."""

from typing import Callable

from .errors import PersistError


def exit_module(module, act: Callable) -> None:
    """End the module (AnsibleModule) with the Outcome, SecretOutcome or report that act() returns, or with its PersistError."""
    try:
        outcome = act()
    except PersistError as error:
        for warning in error.warnings:
            module.warn(warning)
        # "where": to a result with "path", Ansible adds the mode and owner of that file.
        module.fail_json(msg=str(error), where=error.path, hint=error.hint, **error.results)
    results = outcome._asdict()
    for warning in results.pop("warnings", ()):
        module.warn(warning)
    if module._diff and "steps" in results:  # a report has none
        results["diff"] = {"prepared": "".join("+ {}\n".format(step) for step in outcome.steps)}
    results["msg"] = results.pop("message")
    module.exit_json(**results)
