# SPDX-License-Identifier: Apache-2.0
"""The one place where what happened is told to Ansible: results, warnings, and typed errors as failures."""

from .errors import PersistError


def exit_module(module, act):
    """Act, and end the module with the result. Does not return.

    Args:
        module (AnsibleModule): the module that runs.
        act (callable): takes nothing, gives an Outcome or SecretOutcome.
    """
    try:
        outcome = act()
    except PersistError as error:
        for warning in error.warnings:
            module.warn(warning)
        # "where", as Ansible adds the mode and owner of a file that is called "path".
        module.fail_json(msg=str(error), where=error.path, hint=error.hint, **error.results)
    results = outcome._asdict()
    for warning in results.pop("warnings", ()):
        module.warn(warning)
    if module._diff:
        results["diff"] = {"prepared": "".join("+ {}\n".format(step) for step in outcome.steps)}
    results["msg"] = results.pop("message")
    module.exit_json(**results)
