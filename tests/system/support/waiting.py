# SPDX-License-Identifier: Apache-2.0
"""Waiting for a condition, never for a time."""

import os
import time

LONG = os.environ.get("HOTBACKUP_LONG") == "1"  # the figures of the issue instead of the quick ones


class GaveUp(AssertionError):
    """A condition that did not come true in time."""


def wait_until(condition, what, seconds=30.0):
    """Returns the first true value of condition(); GaveUp naming `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    pause = 0.005
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise GaveUp(f"gave up after {seconds} s waiting for: {what}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)
