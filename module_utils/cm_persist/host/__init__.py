# SPDX-License-Identifier: Apache-2.0
"""This machine and the programs on it: mounts, processes, systemd, SELinux, applications, PostgreSQL.

A Machine is the one value that tests replace. Hazards are data that a program keeps outside its directory, or finds again only
under conditions: a copy of the directory alone would lose them.
"""
