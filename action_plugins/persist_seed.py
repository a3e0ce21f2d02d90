# SPDX-License-Identifier: Apache-2.0
"""Runs a module of cm_persist on this machine from where it lies, by the interpreter that Ansible itself runs on.

Ansible would look through all that the module imports, pack it, unpack it in a new process and compile it there: at each start
of a container, for each of the modules. Here library/cm_persist_local.py imports them like any other library, bytecode and all.
Where that is not plainly the same (another machine, user or interpreter, a task in the background), Ansible does as ever.

The other modules' names here are links to this file.
"""

import os
import sys

from ansible.plugins.action import ActionBase

HOME = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
RUNNER = "cm_persist_local"
PARTS = ("task", "connection", "play_context", "loader", "templar", "shared_loader_obj")  # of any such plugin


class ActionModule(ActionBase):
    """A task whose module is one of library/."""

    _supports_async = True

    def run(self, tmp=None, task_vars=None):
        """Run it.

        Args:
            tmp (str): unused, as Ansible says.
            task_vars (dict): the host's variables.

        Returns:
            dict: what the module returned.
        """
        if not self._is_plainly_here(task_vars):
            parts = {name: getattr(self, "_" + name) for name in PARTS}
            return self._shared_loader_obj.action_loader.get("ansible.legacy.normal", **parts).run(task_vars=task_vars)
        result = super().run(tmp, task_vars)
        given = dict(self._task.args, _cm_persist=[HOME, self._task.action.split(".")[-1]])
        result.update(self._execute_module(module_name=RUNNER, module_args=given, task_vars=task_vars))
        return result

    def _is_plainly_here(self, task_vars):
        return (
            self._connection.transport == "local"
            and not self._connection.become
            and task_vars.get("ansible_python_interpreter") == sys.executable
            and not self._task.async_val
            and not self._task.delegate_to
        )
