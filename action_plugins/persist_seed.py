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


class ActionModule(ActionBase):
    """A task whose module is one of library/."""

    def run(self, tmp=None, task_vars=None):
        """Run it.

        Args:
            tmp (str): unused, as Ansible says.
            task_vars (dict): the host's variables.

        Returns:
            dict: what the module returned.
        """
        result = super().run(tmp, task_vars)
        name, given = self._task.action, dict(self._task.args)
        if self._is_plainly_here(task_vars):
            name, given = RUNNER, dict(given, _cm_persist=[HOME, name.split(".")[-1]])
        result.update(self._execute_module(module_name=name, module_args=given, task_vars=task_vars))
        return result

    def _is_plainly_here(self, task_vars):
        return (
            self._connection.transport == "local"
            and not self._connection.become
            and task_vars.get("ansible_python_interpreter") == sys.executable
            and not self._task.async_val
            and not self._task.delegate_to
        )
