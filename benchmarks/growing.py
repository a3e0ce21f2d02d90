# SPDX-License-Identifier: Apache-2.0
"""How a first run grows with the number of files: time for each, and the most memory."""

import os
import subprocess
import sys

from . import fixture, scene
from .copying import SEED, First
from .measure import Row

MOST = 100.0  # MB
LINEAR = 1.25  # times as long for each file as with the fewest, at most
COUNTS = {False: (10_000, 100_000), True: (1_000, 10_000, 100_000, 1_000_000)}


def rows(top, full):
    """Yield the rows, measured in a scratch directory (str); full for up to a million files."""
    took, memory = {}, {}
    for count in COUNTS[full]:
        with scene.tmpfs(os.path.join(top, "growing-{}".format(count)), "12g") as memory_volume:
            original, volume = (os.path.join(memory_volume, name) for name in ("data", "volume"))
            os.mkdir(volume)
            fixture.make_small(original, count)
            took[count] = [First(original, volume).ours() * 1e6 / count for _round in range(3)]
            said = subprocess.run([sys.executable, SEED, volume, original], check=True, stdout=subprocess.PIPE).stdout
            memory[count] = float(said)
    fewest, most = min(took), max(took)
    # An interpreter's start is most of a run with so few files: compared with the next more.
    compared = sorted(took)[1] if full else fewest
    what = "first run of {:,} files, microseconds for each".format(most)
    yield Row(what, "the same of {:,}".format(compared), took[most], took[compared], LINEAR, "µs")
    yield Row("memory of a first run of {:,} files".format(most), "the limit", [memory[most]], [MOST], 1.0, "MB")
