# SPDX-License-Identifier: Apache-2.0
"""Whole trees: walk, scan, list in a manifest, compare, copy, sync.

A walk visits a directory before its content, and names in byte order. A manifest has one line for each entry but sockets. A copy:

    for visit in walk(source):
        directory: make it; finish it (owner, attributes, mode, times) when nothing is added to it any more
        file, link, device: hand it over in batches to a pool of workers
        write its line into the manifest, in the order of the walk
    set immutable flags

Nothing here knows a store or a state path.
"""
