# SPDX-License-Identifier: Apache-2.0
"""Point each state path at its place in the volume, by a symbolic link or a bind mount; and back.

    move the original out of the way: rename it aside, or remove it where it is pristine, or copy it aside
    make the link, or note the mount and mount
    remove the notes

Each state between two steps is recognised by the next run, with the volume as the truth. To restore is the same backwards: the
volume's content is copied to the path, or the original that was kept is renamed to it.
"""
