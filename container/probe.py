# SPDX-License-Identifier: Apache-2.0
"""Says to a kubelet how the container is: exit status 0 for yes, else 1 and the reason in a line.

usage: probe.py started   the start is over, and init has started everything
       probe.py ready     the same, the state paths lead into the store, its lease is kept, and the credentials are to be found
       probe.py alive     the start is at work, or init answers
       probe.py waits     the start does not wait for another manager (for the entry point, which says so in the log)
"""

import os
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from ansible.module_utils.parsing.convert_bool import boolean  # noqa: E402
from variables import UnusableError, in_force  # noqa: E402

from module_utils.cm_persist.errors import PersistError, printable  # noqa: E402
from module_utils.cm_persist.host.mounts import read_mounts  # noqa: E402
from module_utils.cm_persist.lease.lease import FREE, HELD, Lease  # noqa: E402
from module_utils.cm_persist.original.links import (
    leads_into,  # noqa: E402
    refuse_dangling,  # noqa: E402
)
from module_utils.cm_persist.paths import parse_paths  # noqa: E402
from module_utils.cm_persist.store.store import Store, find_store  # noqa: E402

FIRST_PROCESS = "/proc/1/cmdline"
UP, DYING = ("running", "degraded"), ("maintenance", "stopping", "offline", "")
PATIENCE = 8  # seconds for init to answer, less than a probe's own


def started():
    """str: why the start is not over yet, '' if it is."""
    if _at_start():
        return _waits_for() or "the start is at work: see the container's log"
    state = _init()
    return "" if state is None or state in UP else "init is {}".format(state or "not answering")


def alive():
    """str: why this container is of no use any more, '' if it is."""
    if _at_start():
        return ""
    state = _init()
    return "init is {}".format(state or "not answering") if state in DYING else ""


def ready():
    """str: why the manager must not be used now, '' if it can be."""
    return started() or _lost_path() or _lost_credentials()


def waits():
    """str: for whom the start waits, '' if it does not."""
    return _waits_for() if _at_start() else ""


def _waits_for():
    found, _specs = _declared()
    if found is None or found.absent:
        return ""
    if not boolean(in_force()["cm_persist_lease"]):
        return ""
    with Store(found.path) as store:
        if store.state_fd is None:
            return ""
        lease = Lease(store)
        seen = lease.look()
        other = seen.state == HELD and not lease.is_held_here()
    return "the start waits for the lease of another manager, {}".format(seen.detail) if other else ""


def _lost_path():
    found, specs = _declared()
    if found is None:
        return ""
    if found.absent:
        refuse_dangling(found, specs)
        return "there is no store: {}".format(found.absent) if boolean(in_force()["cm_persist_required"]) else ""
    with Store(found.path) as store:
        for spec in specs:
            optional = spec.missing in ("skip", "ignore") and not os.path.islink(spec.path)
            if optional and not os.path.lexists(store.place(spec.path)):
                continue  # made since by the application: the next start keeps it
            if os.path.lexists(spec.path) and not leads_into(store, spec.key):
                lost = "{} does not lead into the store any more: what is written there is lost with this container"
                return lost.format(printable(spec.path))
            # One that neither has was skipped at the start.
            if os.path.lexists(spec.path) != os.path.exists(store.place(spec.path)):
                return "{} is missing, or the store lacks what it leads to".format(printable(spec.path))
        return _lost_lease(store) if boolean(in_force()["cm_persist_lease"]) else ""


def _lost_lease(store):
    lease = Lease(store)
    seen = lease.look()
    if seen.state == HELD:
        return "another manager has the lease of this store, {}".format(seen.detail)
    # Who cannot keep one has not written its name either.
    if seen.state == FREE and os.path.exists(lease.path) and os.path.getsize(lease.path):
        return "nothing keeps the lease of this store any more: another manager could start on it; start a new container"
    return ""


def _lost_credentials():
    variables = in_force()
    token = os.path.join(variables["cm_persist_secret_target"], "token")
    wanted = os.path.isdir(variables["cm_persist_secret_source"]) or boolean(variables["cm_persist_secret_required"])
    if not wanted or os.path.isfile(token):
        return ""
    return "{} leads to no token: see journalctl -u cm_persist-secret in this container".format(token)


def _declared():
    # tuple: Found and the list of StatePath; None and nothing where only Ansible can work out what they are.
    variables = in_force()
    paths = variables["cm_persist_paths"]
    if isinstance(paths, str):
        paths = paths.split(",")  # as Ansible does
    if "{{" in repr((variables["cm_persist_store"], paths)):
        return None, []
    store_path, specs = parse_paths(variables["cm_persist_store"], paths)
    return find_store(store_path, boolean(variables["cm_persist_require_mount"]), read_mounts()), specs


def _at_start():
    with open(FIRST_PROCESS, "rb") as file:
        return b"/container/entrypoint\0" in file.read()


def _init():
    # None for an init that cannot be asked.
    if not os.path.isdir("/run/systemd/system"):
        return None
    try:
        asked = subprocess.run(["systemctl", "is-system-running"], stdout=subprocess.PIPE, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return ""
    return asked.stdout.decode("ascii", "replace").strip()


QUESTIONS = {"started": started, "ready": ready, "alive": alive, "waits": waits}

if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in QUESTIONS:
        sys.stderr.write("usage: probe started|ready|alive\n")
        sys.exit(2)
    try:
        reason = QUESTIONS[sys.argv[1]]()
    except (PersistError, UnusableError, OSError, TypeError) as error:
        reason = "" if sys.argv[1] == "waits" else str(error)  # of what is wrong, the start itself will tell
    if reason:
        sys.exit("cm_persist: {}".format(reason))
