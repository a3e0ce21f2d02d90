# SPDX-License-Identifier: Apache-2.0
"""The option by which the README's table is written."""


def pytest_addoption(parser):
    parser.addoption("--publish-matrix", action="store_true", help="write the table in the README")
