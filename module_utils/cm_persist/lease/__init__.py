# SPDX-License-Identifier: Apache-2.0
"""One manager per volume: a lock on .cm_persist/lease, held as long as the container or machine runs.

A keeper is the process that holds the lock and does nothing else. A container's start leaves it behind; where systemd runs, a
unit starts it at each boot. The kernel frees the lock when the keeper dies, and nothing else does.
"""
