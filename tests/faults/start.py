# SPDX-License-Identifier: Apache-2.0
"""A container start without Ansible, as a process of its own that faults can be injected into: seed, then link.

usage: start.py STORE PATH…    prints what each of the two did, as JSON; a refusal or failure is exit 1 and one line.

LEASE=0 does without the lease, so that two of them meet at the lock.
ACTS, JSON, says what to do instead: a list of "seed", "rollback" or "link" with options of the module; accounts, an option of
"seed", are what the image calls its owners: {name: number} of users, and of groups.
"""

import json
import os
import sys

sys.path.insert(0, os.environ.get("CM_PERSIST", os.path.join(os.path.dirname(__file__), "..", "..")))

from module_utils.cm_persist.errors import PersistError  # noqa: E402
from module_utils.cm_persist.fs.accounts import Accounts  # noqa: E402
from module_utils.cm_persist.host.machine import Machine  # noqa: E402
from module_utils.cm_persist.link import link  # noqa: E402
from module_utils.cm_persist.link import observe as link_observe  # noqa: E402
from module_utils.cm_persist.seed import observe as seed_observe  # noqa: E402
from module_utils.cm_persist.seed import seed  # noqa: E402
from module_utils.cm_persist.store import uses  # noqa: E402
from module_utils.cm_persist.tree import workers as pool  # noqa: E402
from module_utils.cm_persist.upgrade import rollback  # noqa: E402

ACTS = {"seed": (seed.seed, seed.Settings), "rollback": (rollback.roll_back, seed.Settings), "link": (link.link, link.Settings)}


def main():
    options = {"store": sys.argv[1], "paths": sys.argv[2:], "require_mount": False}
    timeout = os.environ.get("LOCK_TIMEOUT")
    if timeout:
        options["lock_timeout"] = float(timeout)
    # Which call is whose must not depend on what else runs on this machine; who uses a path is tested in test_processes.py.
    for module in (seed_observe, link_observe, uses):
        module.find_process_using = lambda *_paths, **_options: None
    lease = {"seed": {"lease": os.environ.get("LEASE") != "0"}}
    _force_workers(os.environ.get("WORKERS"))
    _prepare(os.environ.get("PREPARE", ""))
    told = {}
    try:
        for name, more in json.loads(os.environ.get("ACTS", '[["seed", {}], ["link", {}]]')):
            accounts = more.pop("accounts", None)
            own = {"machine": Machine(names=Accounts(*accounts))} if accounts else {}
            act, settings = ACTS[name]
            told[name] = act(settings(**dict(options, **lease.get(name, {}), **more)), **own)._asdict()
    except PersistError as error:
        sys.exit("{}: {}".format(type(error).__name__, error))
    print(json.dumps(told))


def _force_workers(number):
    """Copy with that many processes from the first file on: which call is whose must not depend on the clock."""
    if number:
        # Not by wanted() alone: how often it is asked, and reads how long the workers ran, depends on the clock as well.
        pool.WorkerPool._wanted = lambda _self: int(number)


def _prepare(names):
    """Call functions of inject.py, which lies beside this file, in this process."""
    for name in names.split():
        import inject

        getattr(inject, name)()


if __name__ == "__main__":
    main()
