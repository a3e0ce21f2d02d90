"""check_vars.py FILE NAME: is this a YAML mapping? If not, says so in one line that names it, and exits 4."""

import sys

import yaml

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
    return None


found = complaint(sys.argv[1])
if found:
    sys.stderr.write("cm_persist: FAILED: %s %s\n" % (sys.argv[2], found))
    sys.exit(4)
