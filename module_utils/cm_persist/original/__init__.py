# SPDX-License-Identifier: Apache-2.0
"""What the image has at a state path, and what cm_persist keeps next to it.

An original is the image's content at a state path. An aside is an original that is kept next to the path (PATH-initial). Notes
are small files next to the path by which the next run completes an interrupted one. An original is pristine if a manifest of the
image, or of the seed, lists exactly what is there: then it can be removed, because it exists elsewhere.
"""
