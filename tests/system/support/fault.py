# SPDX-License-Identifier: Apache-2.0
"""A failing disk for one program: tests/support/fault, with its trigger."""

import os
import shutil

from .places import find


class Fault:
    """Calls that fail on files with `path` in their name, while it is on.

    `rules`: {"sync": "EIO", …}, calls and errors as in tests/support/fault/fault.c. Give environment()
    to a server's or program's start, then switch on() and off() as often as needed.
    """

    _made = 0

    def __init__(self, root, path, **rules):
        Fault._made += 1
        self._trigger = root / f"fault-{Fault._made}"
        self._hits = root / f"fault-{Fault._made}.hits"
        self._hits.touch()
        self._hits.chmod(0o666)
        self._library = root / "libhotbackup_fault.so"
        if not self._library.exists():
            shutil.copy2(find("libhotbackup_fault.so"), self._library)
        self._rules = ";".join(
            f"{call}:{error}:{path}:{self._trigger}" for call, error in rules.items()
        )

    def environment(self):
        return {"LD_PRELOAD": str(self._library), "HOTBACKUP_TEST_FAULT": self._rules}

    @property
    def trigger(self):
        """The file that switches it on while it is there."""
        return self._trigger

    def on(self):
        self._trigger.touch()

    def off(self):
        self._trigger.unlink()

    def hits(self):
        """How many calls failed so far."""
        return os.stat(self._hits).st_size
