# SPDX-License-Identifier: Apache-2.0
"""What cm_persist adds to an image: its own Ansible, with bytecode, and the list of what the image holds."""

import os
import subprocess

from .measure import QUIET, ROOT, Row

BASE, IMAGE = "localhost/cm_persist/standin", "localhost/cm_persist/manager"


def rows(_top, _full):
    """Yield the row."""
    environment = dict(os.environ, CONTAINERS_CONF=os.path.join(ROOT, "tests", "containers.conf"))
    subprocess.run([os.path.join(ROOT, "tests", "image", "build")], check=True, env=environment, **QUIET)
    command = ["podman", "image", "inspect", "--format={{.Size}}", BASE, IMAGE]
    base, whole = (
        int(size) / 1e6 for size in subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE).stdout.split()
    )
    yield Row("what an image grows by", "the stand-in image", [whole - base], [base], None, "MB")
