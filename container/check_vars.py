"""check_vars.py FILE NAME: are these variables that the role can take? If not, says so in one line, and exits 4."""

import os
import sys

import yaml

SPECS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../roles/cm_persist/meta/argument_specs.yml")
HINT = "Give it as YAML or JSON, such as {cm_persist_required: true}."


def complaint(path):
    """What is wrong with the variables in this file and what to do about it, or None."""
    try:
        with open(path, encoding="utf-8") as file:
            variables = yaml.safe_load(file)
    except OSError as error:
        return "cannot be read: %s. Mount it there, or name another in CM_PERSIST_VARS_FILE." % error.strerror
    except UnicodeDecodeError:
        return "is not UTF-8 text. " + HINT
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = " (line %d, column %d)" % (mark.line + 1, mark.column + 1) if mark else ""
        return "is not valid YAML: %s%s. %s" % (getattr(error, "problem", None) or error, place, HINT)
    if variables is not None and not isinstance(variables, dict):
        return "is %s, not a mapping of variables. %s" % (type(variables).__name__, HINT)
    # Ansible takes any name; a misspelt one would silently leave the default in force.
    known = known_names()
    unknown = sorted(name for name in variables or () if str(name).startswith("cm_persist_") and name not in known)
    if unknown:
        return "names %s, which is no variable of the role. It has: %s." % (", ".join(unknown), ", ".join(sorted(known)))
    return None


def known_names():
    """The role's variables (set of str), and the one of its playbooks."""
    with open(SPECS, encoding="utf-8") as file:
        points = yaml.safe_load(file)["argument_specs"].values()
    return {"cm_persist_hosts"}.union(*(point["options"] for point in points))


found = complaint(sys.argv[1])
if found:
    sys.stderr.write("cm_persist: FAILED: %s %s\n" % (sys.argv[2], found))
    sys.exit(4)
