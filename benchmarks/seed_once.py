# SPDX-License-Identifier: Apache-2.0
"""The work of persist_seed alone, in a process of its own. It ends with the most memory, in MB, that it and a crew of as many
processes as processors have had: what they share counts for each of them.

usage: seed_once.py STORE PATH
"""

import os
import resource
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from module_utils.cm_persist.seed.seed import Settings, seed  # noqa: E402

if __name__ == "__main__":
    store, path = sys.argv[1:]
    seed(Settings(store=store, paths=[path], require_mount=False, lease=False))
    own, crew = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print((own + crew * len(os.sched_getaffinity(0))) * 1024 / 1e6)
