# SPDX-License-Identifier: Apache-2.0
"""kill -9 of writers and servers, at named calls and at random times, while the others go on."""

import collections
import random
import sys

from support import content
from support.waiting import GaveUp

from oracle import Broken, LiveLedger, Oracle, read_environment
from pair import ENVIRONMENTS, CrashPair, now

PANIC = 3  # a writer's end after LMDB could not write a meta page

# class.call and how far to count at most, for each kind of process. README.md says what they are.
WRITER_POINTS = [
    ("segment.write", 25), ("segment.write", 3), ("segment.sync", 25), ("segment.sync", 3),
    ("data.write", 60), ("data.write", 6), ("data.sync", 20), ("data.sync", 3),
    ("spare.write", 1), ("spare.sync", 1), ("spare.create", 1), ("segment.rename", 1),
    ("journaldir.sync", 1), ("*.*", 200),
]
MASTER_POINTS = [
    ("segment.sync", 2), ("segment.write", 2), ("spare.write", 2), ("spare.sync", 1), ("spare.rename", 1),
    ("group.write", 1), ("group.rename", 1), ("data.sync", 1), ("dir.sync", 2), ("*.*", 10),
]
SLAVE_POINTS = [
    ("segment.write", 40), ("segment.sync", 20), ("data.sync", 20), ("data.sync", 3), ("applied.write", 1),
    ("applied.sync", 1), ("applied.rename", 1), ("dir.sync", 1), ("spare.write", 1), ("spare.sync", 1),
    ("spare.rename", 1), ("segment.rename", 1), ("journaldir.sync", 1), ("*.*", 100),
]
# A commit that fails, and a kill inside its failing: at the void word, its sync, or the abort.
FAILING = [
    "data.sync#{n}:fail=EIO;>segment.write#1:{action}",
    "data.sync#{n}:fail=EIO;>segment.sync#1:{action}",
    "data.write#{n}:fail=EIO;>segment.write#1:{action}",
    "data.write#{n}:fail=ENOSPC;>segment.sync#1:{action}",
    "data.write#{n}:fail=EIO;>data.write#1:{action}",
    "segment.write#{n}:fail=ENOSPC;>segment.sync#1:{action}",
    "segment.write#{n}:fail=EIO;>data.sync#2:{action}",
    "data.sync#{n}:fail=EIO",
    "data.write#{n}:fail=EIO",
    # The journal's own sync fails (R10): on to a new segment, and a kill on the way there.
    "segment.sync#{n}:fail=EIO",
    "segment.sync#{n}:fail=EIO;>spare.sync#1:{action}",
    "segment.sync#{n}:fail=EIO;>segment.rename#1:{action}",
    "segment.sync#{n}:fail=EIO;>journaldir.sync#1:{action}",
]


def rules_for(name, rnd):
    """A rule for this process, or none: then it is killed at a random time."""
    if rnd.random() < 0.15:
        return ""
    if name.startswith("writer") and rnd.random() < 0.5:
        action = rnd.choice(["before", "before", "after", "torn"])
        return rnd.choice(FAILING[:2] + FAILING).format(n=rnd.randint(1, 6), action=action)
    points = {"master": MASTER_POINTS, "slave": SLAVE_POINTS}.get(name, WRITER_POINTS)
    point, most = rnd.choice(points)
    action = rnd.choice(["before", "after"] + ["torn"] * point.endswith("write"))
    return f"{point}#{rnd.randint(1, most)}:{action}"


class Kills:
    def __init__(self, root, seed, out=sys.stdout):
        self.rnd = random.Random(seed)
        self.pair = CrashPair(root)
        self.ledger = LiveLedger(self.pair.said)
        self.oracles = [Oracle(self.ledger, number) for number in range(len(ENVIRONMENTS))]
        self.names = [f"writer{n}" for n in range(self.pair.writers)]
        self.kills = collections.Counter()
        self.out = out
        self.trace = collections.deque(maxlen=40)

    def start(self):
        self.pair.init()
        for name in ["slave", "master", *self.names]:
            self.pair.start(name, self.rnd.randrange(1 << 30))

    def check(self):
        """Both environments against what their writers said, while writers go on."""
        alive = self.pair.alive_lives()
        self.ledger.read()
        due = [oracle.must_hold() for oracle in self.oracles]
        found = []
        for number in range(len(self.oracles)):
            path = self.pair.environment_path(number) / "data.mdb"
            found.append(read_environment(path.parent) if path.exists() else None)
        self.ledger.read()
        for oracle, must_hold, items in zip(self.oracles, due, found):
            if items is not None:
                oracle.check(items, must_hold, alive)

    def victims(self):
        draw = self.rnd.random()
        if draw < 0.5:
            return [self.rnd.choice(self.names)]
        if draw < 0.66:
            return ["slave"]
        if draw < 0.8:
            return ["master"]
        if draw < 0.9:
            return [self.rnd.choice(self.names), self.rnd.choice(["master", "slave"])]
        if draw < 0.95:
            return list(self.names)
        return ["master", "slave", *self.names]

    def bury(self, name, rules):
        """Counts a death, and sees that it was one of ours."""
        process = self.pair.processes[name]
        process.must_have_been_killed({PANIC} if "fail" in rules and name in self.names else ())
        kind = "server" if name in ("master", "slave") else "writer"
        how = "at a named point" if process.popen.returncode == -9 and not process.ended_by_us else "at random"
        self.kills[f"{name if kind == 'server' else kind} {how}"] += 1

    def cycle(self):
        """Each victim is killed where it is, started with a rule, and killed again by that."""
        victims = self.victims()
        rules = {}
        for name in victims:
            self.end(name, "")
        for name in victims:
            rules[name] = rules_for(name, self.rnd)
            self.trace.append(f"{name} {rules[name] or 'random time'}")
            self.pair.start(name, self.rnd.randrange(1 << 30), rules[name])
        for name in victims:
            process = self.pair.processes[name]
            patience = self.rnd.uniform(0.0, 0.15) if not rules[name] else 0.25
            if name in ("master", "slave"):
                patience += self.rnd.uniform(0.0, 0.3)
            process.wait_death(patience)
            self.end(name, rules[name])
        self.check()
        for name in victims:
            self.pair.start(name, self.rnd.randrange(1 << 30))

    def end(self, name, rules):
        process = self.pair.processes[name]
        process.ended_by_us = process.running()
        if process.ended_by_us:
            process.kill()
        self.bury(name, rules)

    def quiesce(self, seconds=30):
        """Writers stop; the slave gets everything; the copies are equal to the originals."""
        for name in self.names:
            self.end(name, "")
        for name in ("master", "slave"):
            self.pair.processes[name].must_have_been_killed()
            if not self.pair.processes[name].running():
                self.pair.start(name, 0)
        self.check()
        before = self.ledger.acknowledged
        try:
            self.pair.wait_applied(seconds)
        except AssertionError as late:
            raise Broken(f"the slave does not get everything: {late}") from late
        for number, name in enumerate(ENVIRONMENTS):
            original = self.pair.environment_path(number)
            copy = self.pair.environment_path(number, self.pair.lyon)
            found = content.differences(original, copy)
            if found:
                raise Broken(f"{name}: the copy differs: {found}")
        for name in self.names:
            self.pair.start(name, self.rnd.randrange(1 << 30))
        deadline = now() + 20
        while self.ledger.acknowledged == before:
            self.ledger.read()
            if now() > deadline:
                raise Broken("nobody can write any more")

    def run(self, cycles, compare_every=25):
        self.start()
        try:
            while sum(self.kills.values()) < cycles:
                for _ in range(compare_every):
                    self.cycle()
                    if sum(self.kills.values()) >= cycles:
                        break
                self.quiesce()
                self.progress()
        except (Broken, GaveUp, AssertionError) as broken:
            self.pair.keep_stacks()
            raise Broken(f"{broken}\nlast kills: {'; '.join(self.trace)}") from broken
        finally:
            self.pair.end()
        return self.summary()

    def progress(self):
        print(f"kills: {sum(self.kills.values())}", file=self.out, flush=True)

    def summary(self):
        fired = collections.Counter(
            line.split(":")[0].split("#")[0].lstrip(">") for line in self.pair.report.read_text().splitlines()
        )
        points = ", ".join(f"{point} {count}" for point, count in fired.most_common())
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(self.kills.items()))
        return (
            f"{sum(self.kills.values())} kills ({kinds}); {self.ledger.acknowledged} commits returned, "
            f"{self.ledger.failed} failed; points reached: {points}"
        )
