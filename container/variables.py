# SPDX-License-Identifier: Apache-2.0
"""The role's variables as a container is given them: a YAML file, and text in the environment, which wins.

usage: variables.py check        says in a line what is wrong with them and in the next what to do, and exits 4
       variables.py value NAME   prints what one of them is here
"""

import glob
import os
import sys

import yaml

ROLE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../roles/cm_persist")
DIRECTORY = "/etc/cm_persist"
HINT = "Give it as YAML or JSON, such as {cm_persist_required: true}."


class UnusableError(Exception):
    """What is wrong with variables, and what to do about it: two lines."""

    def __init__(self, found, hint):
        super().__init__("%s. %s" % (found, hint))
        self.found, self.hint = found, hint


def given(environment=os.environ):
    """What the container is given.

    Args:
        environment (dict): the text in CM_PERSIST_VARS, and the file that CM_PERSIST_VARS_FILE names, or else
            /etc/cm_persist/vars.yml if there is one.

    Returns:
        list: a dict of variables for each of the two that is there, the one that wins last.

    Raises:
        UnusableError: it is no YAML mapping, or has a name that is no variable of the role.
    """
    found = []
    path = environment.get("CM_PERSIST_VARS_FILE") or os.path.join(DIRECTORY, "vars.yml")
    if not environment.get("CM_PERSIST_VARS_FILE") and not os.path.lexists(path):
        # Names with a dot are kubelet's own, which also an empty ConfigMap has.
        others = sorted(name for name in os.listdir(DIRECTORY) if name[0] != ".") if os.path.isdir(DIRECTORY) else []
        if others:
            found = "%s holds %s, but no vars.yml" % (DIRECTORY, ", ".join(others))
            raise UnusableError(found, "Call the file so; in a ConfigMap that is the key.")
    else:
        try:
            with open(path, encoding="utf-8") as file:
                found.append(_parse(file, path))
        except OSError as error:
            hint = "Mount it there, or name another in CM_PERSIST_VARS_FILE."
            raise UnusableError("%s cannot be read: %s" % (path, error.strerror), hint) from error
        except UnicodeDecodeError as error:
            raise UnusableError("%s is not UTF-8 text" % path, HINT) from error
    if environment.get("CM_PERSIST_VARS"):
        found.append(_parse(environment["CM_PERSIST_VARS"], "CM_PERSIST_VARS"))
    return found


def in_force(environment=os.environ):
    """dict: every variable of the role that start.yml and secret.yml know, with the value that it has here.

    The paths are those of the profile, where one is asked for, as tasks/profile.yml takes them.
    """
    values = _load("defaults/main.yml")
    for variables in given(environment):
        values.update(variables)
    profile = values["cm_persist_profile"]
    if profile == "auto":
        detection = _load("vars/detection.yml")["__cm_persist_detection"]
        profile = next((each["profile"] for each in detection if any(map(glob.glob, each["evidence"].split()))), "")
    if profile and os.path.isfile(os.path.join(ROLE, "vars", str(profile) + ".yml")):
        values["cm_persist_paths"] = _load("vars/{}.yml".format(profile))["__cm_persist_profile_paths"]
    return values


def _parse(source, name):
    try:
        variables = yaml.safe_load(source)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = " (line %d, column %d)" % (mark.line + 1, mark.column + 1) if mark else ""
        found = "%s is not valid YAML: %s%s" % (name, getattr(error, "problem", None) or error, place)
        raise UnusableError(" ".join(found.split()), HINT) from error
    if variables is not None and not isinstance(variables, dict):
        raise UnusableError("%s is %s, not a mapping of variables" % (name, type(variables).__name__), HINT)
    # Ansible takes any name; a misspelt one would silently leave the default in force.
    known = {"cm_persist_hosts"}.union(
        *(point["options"] for point in _load("meta/argument_specs.yml")["argument_specs"].values())
    )
    unknown = sorted(name for name in variables or () if str(name).startswith("cm_persist_") and name not in known)
    if unknown:
        found = "%s names %s, which is no variable of the role" % (name, ", ".join(unknown))
        raise UnusableError(found, "Name one that it has: %s." % ", ".join(sorted(known)))
    return variables or {}


def _load(name):
    with open(os.path.join(ROLE, name), encoding="utf-8") as file:
        return yaml.safe_load(file)


if __name__ == "__main__":
    try:
        if sys.argv[1] == "check":
            given()
        else:
            print(in_force()[sys.argv[2]])
    except UnusableError as fault:
        sys.stderr.write("%s\n%s\n" % (fault.found, fault.hint))
        sys.exit(4)
