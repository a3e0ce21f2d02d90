# SPDX-License-Identifier: Apache-2.0
"""The Python interpreters of this machine that the modules may run on."""

import os
import shutil
import subprocess

VERSIONS = ["3.{}".format(minor) for minor in range(6, 14)]


def find_python(version):
    """str: an interpreter of this version, from PATH or pyenv; None where there is none.

    A shim that pyenv puts on PATH answers for versions that are not switched on with an error, so each is asked.
    """
    name = "python" + version
    candidates = [shutil.which(name)] + _of_pyenv(version, name)
    return next((path for path in candidates if path and _answers(path, version)), None)


def _of_pyenv(version, name):
    pyenv = shutil.which("pyenv")
    if not pyenv:
        return []
    versions = os.path.join(subprocess.check_output([pyenv, "root"], universal_newlines=True).strip(), "versions")
    if not os.path.isdir(versions):
        return []
    return [
        os.path.join(versions, found, "bin", name) for found in sorted(os.listdir(versions)) if found.startswith(version + ".")
    ]


def _answers(path, version):
    try:
        said = subprocess.run(
            [path, "-c", "import sys; print('{}.{}'.format(*sys.version_info))"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        ).stdout  # fmt: skip
    except OSError:
        return False
    return said.strip() == version
