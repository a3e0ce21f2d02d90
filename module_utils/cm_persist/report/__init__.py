# SPDX-License-Identifier: Apache-2.0
"""Read-only reports: status (is everything in order?), verify (does the volume still hold what was seeded?), audit (what
would be lost with this container?).

Nothing is changed, and no error ends a report: each becomes a problem in it.
"""
