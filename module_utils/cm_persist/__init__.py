# SPDX-License-Identifier: Apache-2.0
"""The logic of cm_persist: plain Python 3.6, no Ansible, one idea per file."""
