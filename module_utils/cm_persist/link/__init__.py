# SPDX-License-Identifier: Apache-2.0
"""Point each state path at its place in the volume, by a symbolic link or a bind mount; and back.

    move the original out of the way: rename it, or remove it where it is pristine, or copy it under another name
    make the link, or note the mount and mount
    remove the notes

The next run recognises each state between two steps, with the volume as the truth. The way back has the same steps in reverse:
the volume's content is copied to the path, or the original that was kept is renamed to it.
"""
