# SPDX-License-Identifier: Apache-2.0
"""Speed, as ratios to what one would use instead, measured alternately in one run. Needs root, for overlayfs.

A row is the link phase of a container that is created anew: its image's original is out of the way, and a link into the store
in its place. What is timed is a whole process that does so, with its interpreter but without Ansible, against mv and ln.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

from benchmarks import fixture  # noqa: E402
from tests.site import Site, list_image, run  # noqa: E402

ROUNDS = 5
GOAL = 4  # times faster
LINK = """
import sys
sys.path.insert(0, {root!r})
from module_utils.cm_persist.link import Settings, link
link(Settings(store={store!r}, paths=[{path!r}], require_mount=False, image_manifest={manifest!r}))
"""


class Container:
    """A container's file system, made anew for each round: an overlayfs whose lower layer is the image."""

    def __init__(self, site):
        self._site, self._layers = site, {name: os.path.join(site.top, name) for name in ("lower", "upper", "work")}

    def __enter__(self):
        for name in ("upper", "work"):
            os.mkdir(self._layers[name])
        options = "lowerdir={lower},upperdir={upper},workdir={work}".format(**self._layers)
        run("mount", "-t", "overlay", "overlay", "-o", options, self._site.image)
        return self

    def __exit__(self, *_unused):
        run("umount", self._site.image)
        for name in ("upper", "work"):
            shutil.rmtree(self._layers[name])

    def held(self):
        """int: bytes of files in the container's own layer."""
        files = [os.path.join(above, name) for above, _directories, names in os.walk(self._layers["upper"]) for name in names]
        return sum(os.lstat(file).st_size for file in files if not os.path.islink(file))


def measure(site, command):
    """tuple: (float, int), the seconds that a command takes in a new container, and the bytes that its layer then holds."""
    with Container(site) as container:
        os.sync()
        begin = time.perf_counter()
        subprocess.run(command, check=True)
        seconds = time.perf_counter() - begin
        assert os.readlink(site.path()) == site.stored()
        return seconds, container.held()


def main():
    """Measure, and print the row."""
    if os.geteuid():
        sys.exit("bench: mounting an overlayfs needs root")
    with tempfile.TemporaryDirectory(prefix="cm_persist-bench-", dir="/var/tmp") as top:
        site = Site(top)
        os.rename(site.image, os.path.join(top, "lower"))
        os.mkdir(site.image)
        count, total = fixture.make(os.path.join(top, "lower", "data"))
        print("{:,} files, {:,} bytes at one state path, {} rounds".format(count, total, ROUNDS))
        manifest = os.path.join(top, "image.manifest")
        with Container(site):
            site.seed()
            list_image(site.image, manifest)
        ours = [sys.executable, "-c", LINK.format(root=ROOT, store=site.store, path=site.path(), manifest=manifest)]
        peer = ["sh", "-c", 'mv "$1" "$1-initial" && ln -s "$2" "$1"', "sh", site.path(), site.stored()]
        rounds = [(measure(site, ours), measure(site, peer)) for _ in range(ROUNDS)]
    (mine, layer), (theirs, other_layer) = (
        (statistics.median(pair[side][0] for pair in rounds), max(pair[side][1] for pair in rounds)) for side in (0, 1)
    )
    ratio = theirs / mine
    print("| link phase of a container that is created anew | seconds, median | bytes in its layer |\n| --- | --- | --- |")
    print("| mv and ln | {:.2f} | {:,} |\n| cm_persist | {:.2f} | {:,} |".format(theirs, other_layer, mine, layer))
    met = "met" if ratio >= GOAL else "missed by a factor of {:.2f}".format(GOAL / ratio)
    print("{:.1f} times faster; the goal, {} times, is {}".format(ratio, GOAL, met))


if __name__ == "__main__":
    main()
