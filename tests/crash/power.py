# SPDX-License-Identifier: Apache-2.0
"""Power loss: what a pair did is recorded, and at any moment of it the disk states that the calls allow are
rebuilt, recovered in a new boot, and checked. The model of the disk is in docs/testing.md."""

import collections
import contextlib
import random
import shutil
import subprocess
import sys
import uuid

import lmdb
from support import content

from oracle import Broken, Ledger, Oracle, read_environment
from pair import ENVIRONMENTS, CrashPair, find

LOG_BYTES = 1 << 31  # kRecordLogBytes
LOG_START = 64
LMDB_MAGIC = bytes.fromhex("dec0efbe")
WAYS = ("write", "read", "recover")


class Rebuild:
    """The program that replays a record; its states in order of the cuts."""

    def __init__(self, log, tree, root):
        self.process = subprocess.Popen(
            [find("crash_rebuild"), str(log), str(tree), str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._expect(b"ready")

    def _expect(self, word):
        line = self.process.stdout.readline()
        if line.strip() != word:
            raise RuntimeError(f"crash_rebuild said {line!r}, not {word!r}")

    def _say(self, line):
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def go(self):
        """Reads the record: number of entries, [(index, lines of an oracle)], indexes of no writes."""
        self._say("go")
        entries = int(self.process.stdout.readline().split()[1])
        said, points = [], []
        while True:
            words = self.process.stdout.readline().split()
            if words[0] == b"end":
                return entries, said, points
            if words[0] == b"point":
                points.append(int(words[1]))
            else:
                said.append((int(words[1]), self.process.stdout.read(int(words[2])).splitlines()))

    def state(self, cut, seed, torn, to):
        self._say(f"state {cut} {seed} {int(torn)} {to}")
        self._expect(b"done")

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def new_log(path):
    with open(path, "wb") as file:
        file.write(LOG_START.to_bytes(8, "little"))
        file.truncate(LOG_BYTES)
    return path


class Disk:
    """A rebuilt disk and the boots that run on it."""

    def __init__(self, pair, place):
        self.pair = pair
        self.place = place
        self.boot_id = place.with_name(place.name + ".boot")
        self.reboot()

    def reboot(self):
        self.boot_id.write_text(str(uuid.uuid4()) + "\n")

    def path(self, index, node="paris"):
        return self.place / node / "data" / list(ENVIRONMENTS)[index]

    def command(self, words, log=None):
        """The command line and environment of a program in this boot."""
        environment = dict(self.pair.paris.environment)
        environment["CRASH_ROOTS"] = f"{self.pair.root}/paris:{self.pair.root}/lyon:{self.pair.said}"
        if log:
            environment["CRASH_LOG"] = str(log)
        boot = [find("crash_new_boot"), str(self.place), str(self.pair.root), str(self.boot_id), "--"]
        return boot + words, environment

    def run(self, words, captured, log=None, seconds=60):
        """Runs a program to its end; a code other than 0 is a broken promise."""
        preload = find("interpose.so") if log else ""
        if captured:
            preload += f":{self.pair.programs.library}"
        setting = ["env", f"LD_PRELOAD={preload.lstrip(':')}"] if preload else []
        words, environment = self.command(setting + [str(word) for word in words], log)
        try:
            done = subprocess.run(
                words, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds,
                errors="replace", check=False, cwd="/",
            )
        except subprocess.TimeoutExpired as late:
            raise Broken(f"{' '.join(words)} does not end") from late
        if done.returncode != 0:
            raise Broken(f"{' '.join(words)} ended with {done.returncode}: {done.stdout[-500:]}{done.stderr[-1500:]}")

    def remove(self):
        shutil.rmtree(self.place, ignore_errors=True)
        self.boot_id.unlink(missing_ok=True)


class Told:
    """What writers have said up to the power loss, and since."""

    def __init__(self, ledger):
        self.ledger = Ledger()
        self.ledger.by_life.update({life: dict(txns) for life, txns in ledger.by_life.items()})
        self._after = Ledger()

    def read(self, path):
        if path.exists():
            lines = path.read_bytes().splitlines()
            self.ledger.add(lines)
            self._after.add(lines)

    def refused(self):
        """Whether every commit since failed."""
        codes = [txn.code for txns in self._after.by_life.values() for txn in txns.values()]
        return bool(codes) and 0 not in codes


class Power:
    def __init__(self, root, seed, options, out=sys.stdout):
        """`options`: go_on, recover_by, with_servers, fail_data_syncs as the command's words."""
        self.root = root
        self.options = options
        self.rnd = random.Random(seed)
        self.out = out
        self.counts = collections.Counter()
        self.histories = 0
        self.ways = [options.recover_by] if options.recover_by else list(WAYS)

    def run(self, states, states_a_history=120):
        while self.counts["states"] < states:
            place = self.root / f"history{self.histories}"
            place.mkdir()
            self.history(place, min(states_a_history, states - self.counts["states"]))
            shutil.rmtree(place)
            self.histories += 1
            print(f"states: {self.counts['states']}", file=self.out, flush=True)
        done = ", ".join(f"{count} {what}" for what, count in sorted(self.counts.items()))
        if self.counts["BROKEN"]:
            raise Broken(done)
        return f"{done} from {self.histories} histories"

    def history(self, place, states):
        """A pair at work, recorded from just after init."""
        pair = CrashPair(place)
        pair.init()
        log = new_log(place / "log")
        rebuild = Rebuild(log, place, place)
        try:
            self.record(pair, log)
            entries, said, points = rebuild.go()
            self.counts["recorded calls"] += entries
            cuts = [self.rnd.choice(points) + self.rnd.randint(0, 1) for _ in range(states // 2)]
            cuts += [self.rnd.randint(0, entries) for _ in range(states - len(cuts))]
            ledger, at = Ledger(), 0
            for cut in sorted(cuts):
                while at < len(said) and said[at][0] < cut:
                    ledger.add(said[at][1])
                    at += 1
                self.state(pair, rebuild, ledger, cut)
        finally:
            rebuild.close()
            pair.end()

    def record(self, pair, log):
        pair.log_file = log
        for name in ("slave", "master"):
            pair.start(name, 0)
        names = [f"writer{n}" for n in range(pair.writers)]
        for name in names:
            rules = ""
            if self.rnd.random() < 0.4:
                call = self.rnd.choice(["data.sync", "data.write", "segment.write"])
                if call == "data.sync" and not self.options.fail_data_syncs:
                    call = "data.write"
                rules = f"{call}#{self.rnd.randint(2, 60)}:fail={self.rnd.choice(['EIO', 'ENOSPC'])}"
            elif self.rnd.random() < 0.3:
                rules = f"{self.rnd.choice(['data.sync', 'segment.sync', 'data.write'])}#{self.rnd.randint(5, 60)}:before"
            pair.start_writer(name, self.rnd.randrange(1 << 30), rules, transactions=self.rnd.randint(20, 70))
        for name in names:
            if not pair.processes[name].wait_death(60):
                raise Broken(f"{name} does not end")
        pair.log_file = None
        pair.wait_applied()
        pair.end()

    def state(self, pair, rebuild, ledger, cut):
        """One disk: recovered, checked, written to; sometimes with a second power loss, or both servers."""
        seed, torn = self.rnd.randrange(1 << 40), self.rnd.random() < 0.5
        way = self.rnd.choice(self.ways)
        twice, servers = self.rnd.random() < 0.25, self.rnd.random() < self.options.with_servers
        name = f"cut {cut}, choice {seed}, {'torn, ' if torn else ''}recovered by {way}{', twice' if twice else ''}"
        disk = Disk(pair, pair.root / "disk")
        rebuild.state(cut, seed, torn, disk.place)
        told = Told(ledger)
        self.bury_unborn(disk, told)
        try:
            if twice:
                disk = self.lose_again(disk, way, told)
                self.counts["second power losses"] += 1
            self.recover(disk, way, told)
            self.check(disk, told)
            self.run_writer(disk, 6, told)
            self.check(disk, told)
            if told.refused():
                raise Broken("nothing can be written after the recovery")
            if servers:
                self.servers(disk)
                self.counts["with both servers"] += 1
        except Broken as broken:
            with contextlib.suppress(RuntimeError):
                shutil.rmtree(pair.root / "disk-before", ignore_errors=True)
                rebuild.state(cut, seed, torn, pair.root / "disk-before")
            text = f"history {self.histories}, {name}: {broken}"
            if not self.options.go_on:
                raise Broken(text) from broken
            print(f"BROKEN: {text}", file=self.out, flush=True)
            self.counts["BROKEN"] += 1
        self.counts["states"] += 1
        self.counts["torn"] += torn
        disk.remove()

    def bury_unborn(self, disk, told):
        """LMDB does not open a file whose first pages it had written and not yet synced. Plain LMDB is no
        better there, and nobody was told of anything in it: removed, as an administrator would do it."""
        for number in range(len(ENVIRONMENTS)):
            path = disk.path(number) / "data.mdb"
            if not path.exists():
                continue
            metas = path.read_bytes()[:8192]
            born = LMDB_MAGIC == metas[16:20] == metas[4112:4116]
            if metas and not born and not Oracle(told.ledger, number).must_hold():
                path.unlink()
                self.counts["environments not yet born"] += 1

    def lose_again(self, disk, way, told):
        """Power goes while the disk is being recovered: the disk that this leaves."""
        log = new_log(disk.place.with_name("log-again"))
        rebuild = Rebuild(log, disk.place, disk.pair.root)
        try:
            self.recover(disk, way, Told(told.ledger), log)
            entries, said, _ = rebuild.go()
            cut = self.rnd.randint(0, entries)
            for index, lines in said:
                if index < cut:
                    told.ledger.add(lines)
            again = Disk(disk.pair, disk.place.with_name("disk-again"))
            rebuild.state(cut, self.rnd.randrange(1 << 40), self.rnd.random() < 0.5, again.place)
        finally:
            rebuild.close()
        disk.remove()
        self.bury_unborn(again, told)
        return again

    def recover(self, disk, way, told, log=None):
        environments = [disk.pair.environment_path(number) for number in range(len(ENVIRONMENTS))]
        if way == "recover":
            disk.run([disk.pair.programs.hotbackup, "recover", "main"], captured=False, log=log)
        elif way == "read":
            disk.run([find("crash_writer"), "read", *environments], captured=True, log=log)
        else:
            self.run_writer(disk, 2, told, log)

    def run_writer(self, disk, transactions, told, log=None):
        """A new life writes to both environments."""
        pair = disk.pair
        pair.lives += 1
        life = f"L{pair.lives}"
        words = [find("crash_writer"), pair.said / f"{life}.oracle", pair.root / "order", life]
        words += [self.rnd.randrange(1 << 30), transactions]
        for number, size in enumerate(ENVIRONMENTS.values()):
            words += [pair.environment_path(number), size]
        try:
            disk.run(words, captured=True, log=log)
        finally:
            told.read(pair.said / f"{life}.oracle")

    def check(self, disk, told):
        for number in range(len(ENVIRONMENTS)):
            oracle = Oracle(told.ledger, number)
            path = disk.path(number)
            file = path / "data.mdb"
            found = {b"plain": [], b"dups": [], b"marks": []}
            try:
                if file.exists() and file.stat().st_size > 0:
                    found = read_environment(path)
                oracle.check(found, oracle.must_hold())
            except (Broken, lmdb.Error) as broken:
                raise Broken(f"{path.name}: {broken}") from broken

    def servers(self, disk):
        """Both nodes lost power: their servers come back, and copies become equal to the originals."""
        pair, running = disk.pair, []
        try:
            for node, program in ((pair.lyon, pair.programs.slave), (pair.paris, pair.programs.master)):
                words, environment = disk.command([str(program), "--config", str(node.config)])
                with open(pair.root / f"{node.name}-again.log", "wb") as log:
                    running.append(
                        subprocess.Popen(words, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
                    )
            words = [pair.programs.hotbackup, "wait", "main", "--for", "applied", "--timeout", "30 s"]
            disk.run(words, captured=False)
            for number in range(len(ENVIRONMENTS)):
                found = content.differences(disk.path(number), disk.path(number, "lyon"))
                if found:
                    raise Broken(f"the copy differs: {found}")
        finally:
            for process in running:
                process.kill()
                process.wait()
