# SPDX-License-Identifier: Apache-2.0
"""A clock that tests of waiting can afford."""


class Clock:
    """Time that passes only while somebody sleeps; awake is called at the end of each sleep."""

    def __init__(self):
        self.now, self.awake = 0.0, lambda: None

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds
        self.awake()

    def time(self):
        return 1767323045

    def gmtime(self):
        return None

    def strftime(self, _form, _time):
        return "2026-01-02T03:04:05Z"
