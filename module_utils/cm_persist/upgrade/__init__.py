# SPDX-License-Identifier: Apache-2.0
"""A new image meets a volume that an older image filled.

    same image as before: nothing to do
    keep:  use the volume's files, report how many of the image's they hide
    merge: compare base (the former image's list), volume and image; build the merged tree in staging; swap; keep the old tree
    fail:  refuse if the image changed anything there

Owners follow their names. What an fsGroup widened gets its modes back. A rollback swaps the kept trees in again, and what it puts
away is never removed.
"""
