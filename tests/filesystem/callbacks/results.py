# SPDX-License-Identifier: Apache-2.0
"""Prints each task's result as one line of JSON, for tests to read."""

DOCUMENTATION = """
name: results
type: stdout
short_description: One line of JSON for each result
description: Prints the module's name, whether it failed, and what it returned.
"""

import json  # noqa: E402

from ansible.plugins.callback import CallbackBase  # noqa: E402


class CallbackModule(CallbackBase):
    """Prints results and diffs."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "results"

    def v2_runner_on_ok(self, result):
        self._print(result, False)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._print(result, True)

    def _print(self, result, failed):
        told = {"module": result._task.action, "failed": failed, "result": result._result}
        print(json.dumps(told, default=str))
