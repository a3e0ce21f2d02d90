# SPDX-License-Identifier: Apache-2.0
"""The logic of cm_persist: plain Python 3.6, no Ansible, one idea per file."""

VERSION = "1.0.0"  # of all of cm_persist; what else names it takes it from here
