# SPDX-License-Identifier: Apache-2.0
"""The modules compile and work on each Python from 3.6 on that this machine has."""

import os
import warnings

import pytest

from tests.pythons import VERSIONS, find_python
from tests.site import run

HERE = os.path.dirname(os.path.abspath(__file__))


@pytest.mark.parametrize("version", VERSIONS)
def test_seed_link_and_secret(version, top):
    python = find_python(version)
    if python is None:
        warnings.warn("NOT TESTED on Python {}: no such interpreter on PATH or in pyenv".format(version), stacklevel=1)
        pytest.skip("no Python {} on this machine".format(version))
    output = run(python, "-I", os.path.join(HERE, "smoke.py"), os.path.dirname(os.path.dirname(HERE)), top)
    assert "all is well on " + version in output
