# SPDX-License-Identifier: Apache-2.0
"""Kubernetes' API credentials: init hides them below its own /run, so link the place to another copy of them.

    inspect the files of the source: which exist, who can read them, when the token expires
    refuse what no program can work with, warn of the rest
    make the parents, then the link, by one rename

No content of a file leaves this wing, neither in a result nor in an error.
"""
