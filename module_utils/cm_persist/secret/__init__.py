# SPDX-License-Identifier: Apache-2.0
"""Kubernetes' API credentials: init hides them below its own /run, so cm_persist links their place to another copy.

    observe the source: which files exist, who can read them, when the token expires
    refuse credentials that no program can work with, warn of other defects
    make the parents, then the link, by one rename

No content of a file leaves this wing, neither in a result nor in an error.
"""
