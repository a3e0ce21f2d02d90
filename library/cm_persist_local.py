#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Runs another module from where it lies. Not for tasks: the plugins in action_plugins/ call it.

WANT_JSON: by this word Ansible gives it a file with the arguments, and packs nothing.
"""

import importlib
import json
import runpy
import sys
import traceback


def main():
    """Run the module that the arguments name."""
    with open(sys.argv[1], "rb") as file:
        given = json.loads(file.read().decode("utf-8"))
    home, name = given.pop("_cm_persist")
    given["_ansible_module_name"] = name
    # The modules, what they import, and their arguments, where Ansible would have put them. Import statements would have Ansible
    # pack this file as well.
    importlib.import_module("ansible.modules").__path__.insert(0, home + "/library")
    importlib.import_module("ansible.module_utils").__path__.insert(0, home + "/module_utils")
    basic = importlib.import_module("ansible.module_utils.basic")
    basic._ANSIBLE_ARGS, basic._ANSIBLE_PROFILE = json.dumps({"ANSIBLE_MODULE_ARGS": given}).encode("utf-8"), "legacy"
    try:
        runpy.run_module("ansible.modules." + name, run_name="__main__", alter_sys=True)
    except Exception as error:  # what nobody foresaw: newer releases of Ansible tell the reason of those that they pack
        found = "{}: {}".format(type(error).__name__, error)
        print(json.dumps({"failed": True, "msg": found, "exception": traceback.format_exc()}))
        sys.exit(1)


if __name__ == "__main__":
    main()
