# SPDX-License-Identifier: Apache-2.0
"""The mounted volume, and the books in its state directory .cm_persist.

The record has an entry for each seeded or adopted path; a manifest lists one path as it was seeded; staging is private space for
copies in progress; a swap lets a new tree and the present one change places; backups keep replaced trees. A run that was killed
is completed by the next one:

    take the lock, read record, staging and swaps
    complete published copies and started swaps, write the record
    look again, and plan what the user asked for
"""
