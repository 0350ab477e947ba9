# SPDX-License-Identifier: Apache-2.0
"""Where the programs under test are, and directories and ports for a test to use."""

import os
import pathlib
import random
import shutil
import socket
import tempfile

# Where a build tree and an installed tree keep each program, tried in this order.
_PLACES = {
    "hotbackup": ["bin", "tools/hotbackup", "."],
    "hotbackup-master": ["bin", "sbin", "master", "."],
    "hotbackup-slave": ["bin", "sbin", "slave", "."],
    "hotbackup-resync": ["bin", "tools/resync", "."],
    "libhotbackup.so": ["lib", "lib/x86_64-linux-gnu", "master/capture", "."],
}
_TEST_PLACES = {  # of the build tree only
    "libhotbackup_fault.so": ["tests/support/fault"],
    "limit_program": ["tests/system"],
}


def find(name):
    """The path of a program or library under $HOTBACKUP_BIN: a build tree or an install prefix."""
    root = pathlib.Path(os.environ.get("HOTBACKUP_BIN", "."))
    for place in _PLACES.get(name) or _TEST_PLACES[name]:
        path = root / place / name
        if path.is_file():
            return path.resolve()
    raise FileNotFoundError(f"{name} is not under HOTBACKUP_BIN={root}")


def open_to_all(path):
    """Whether a user with no rights of their own can reach this path."""
    return all(parent.stat().st_mode & 0o001 for parent in path.parents)


class Programs:
    """The programs, at a place that every user can read: copied when the build tree is private."""

    def __init__(self, scratch):
        found = {name: find(name) for name in _PLACES}
        if not all(open_to_all(path) for path in found.values()):
            for name in found:
                folder = scratch / "prefix" / ("lib" if name.endswith(".so") else "bin")
                folder.mkdir(parents=True, exist_ok=True)
                found[name] = pathlib.Path(shutil.copy2(found[name], folder))
        self.hotbackup = found["hotbackup"]
        self.resync = found["hotbackup-resync"]
        self.master = found["hotbackup-master"]
        self.slave = found["hotbackup-slave"]
        self.library = found["libhotbackup.so"]


def scratch_directory():
    """A fresh directory that every user may enter."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="hotbackup-test-"))
    path.chmod(0o755)
    return path


def free_port():
    """A loopback port that nobody listens on, outside the range that outgoing calls are given."""
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
