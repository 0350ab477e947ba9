# SPDX-License-Identifier: Apache-2.0
"""Starting, watching and ending processes, each by its own pid."""

import os
import pathlib
import signal
import socket
import subprocess

from .waiting import wait_until


def peak_resident_mb(pid):
    """The most memory that was resident at once since the process started, in MB."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1000
    raise ValueError(f"no VmHWM for pid {pid}")


def forget_peak(pid):
    """Starts a new measurement for peak_resident_mb."""
    pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")


def as_user(user):
    """The words in front of a command that make it run as this user."""
    return ["setpriv", f"--reuid={user}", "--regid=" + _login_group(user), "--clear-groups", "--"]


def _login_group(user):
    import pwd

    return str(pwd.getpwnam(user).pw_gid)


class Server:
    """One server process: ready when it told the service manager so, its log in a file."""

    def __init__(self, program, config, log_path, notify_path, environment=None, prefix=()):
        self.program = program
        self.log_path = log_path
        log_path.touch()
        self._log = open(log_path, "ab")
        self._notify_path = notify_path
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        if notify_path.exists():
            notify_path.unlink()
        self._notify.bind(str(notify_path))
        notify_path.chmod(0o777)
        self._notify.setblocking(False)
        inherited = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
        self.process = subprocess.Popen(
            [*prefix, str(program), "--config", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env={**inherited, "NOTIFY_SOCKET": str(notify_path), **(environment or {})},
            cwd="/",
        )

    @property
    def pid(self):
        return self.process.pid

    @property
    def log(self):
        return self.log_path.read_text(errors="replace")

    def running(self):
        return self.process.poll() is None

    def _told_ready(self):
        if not self.running():
            raise AssertionError(
                f"{self.program.name} ended with {self.process.returncode}:\n{self.log[-3000:]}"
            )
        try:
            return b"READY=1" in self._notify.recv(4096)
        except BlockingIOError:
            return False

    def wait_ready(self, seconds=15):
        wait_until(self._told_ready, f"{self.program.name} to be ready", seconds)
        return self

    def wait_end(self, seconds=20):
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired as late:
            raise AssertionError(
                f"{self.program.name} did not end within {seconds} s:\n{self.log[-3000:]}"
            ) from late
        self._close()
        return code

    def stop(self, seconds=20):
        """SIGTERM; returns the exit code."""
        if self.running():
            self.process.terminate()
        return self.wait_end(seconds)

    def kill(self):
        """SIGKILL, in the middle of whatever it does."""
        if self.running():
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self._close()

    def _close(self):
        if not self._log.closed:
            self._log.close()
            self._notify.close()
            self._notify_path.unlink(missing_ok=True)


class Background:
    """A program of the test's own in the background, with what it printed."""

    def __init__(self, command, log_path, env=None):
        self.log_path = log_path
        with open(log_path, "ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, cwd="/"
            )

    @property
    def pid(self):
        return self.process.pid

    @property
    def log(self):
        return self.log_path.read_text(errors="replace")

    def running(self):
        return self.process.poll() is None

    def wait_for(self, text, seconds=20):
        def seen():
            if text in self.log:
                return True
            if not self.running():
                raise AssertionError(f"ended without printing {text!r}:\n{self.log[-3000:]}")
            return False

        wait_until(seen, f"output {text!r}", seconds)

    def wait(self, seconds=60):
        return self.process.wait(seconds)

    def finish(self, seconds=60):
        """Waits for a good end."""
        code = self.process.wait(seconds)
        if code != 0:
            raise AssertionError(f"program ended with {code}:\n{self.log[-3000:]}")

    def end(self):
        if self.running():
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
