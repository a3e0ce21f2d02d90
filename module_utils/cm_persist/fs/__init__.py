# SPDX-License-Identifier: Apache-2.0
"""Files and directories by descriptor: no function here follows a symbolic link that somebody planted.

Names and relative paths are bytes. A node is what exists at one name: a directory, a file, a link, something special, or nothing.
Nothing here knows a store or a state path.
"""
