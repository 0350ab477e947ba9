# SPDX-License-Identifier: Apache-2.0
"""What must be in an environment, from what its writers said before and after each commit.

A transaction whose commit returned 0 must be there, one whose commit failed or that was aborted must
not, one in flight when its writer died may be there or not: whole, nothing else, and what it was
found to be once it stays. Transactions are replayed in the order in which they held LMDB's writer lock
on a plain model, which must then equal the environment item by item.
"""

import collections
import dataclasses
import pathlib

from support import content


class Broken(AssertionError):
    """The promise does not hold."""


@dataclasses.dataclass
class Transaction:
    life: bytes
    seq: int
    environment: int
    order: int
    ops: list
    code: int = None  # of the commit; None while it is open


def _value(life, seq, part, length):
    piece = b"%s.%d.%s/" % (life, seq, part)
    return (piece * (length // len(piece) + 1))[:length]


class Model:
    """The items that an environment should hold."""

    def __init__(self):
        self.plain, self.dups, self.marks = {}, {}, {}

    def apply(self, txn):
        for op in txn.ops:
            kind, database, *rest = op.split(b":")
            items = self.plain if database == b"plain" else self.dups
            if kind == b"p":
                self.plain[rest[0]] = _value(txn.life, txn.seq, rest[1], int(rest[2]))
            elif kind == b"d":
                items.pop(rest[0], None)
            elif kind == b"a":
                self.dups.setdefault(rest[0], set()).add(rest[1])
            elif kind == b"r":
                self.dups[rest[0]].discard(rest[1])
            elif kind == b"e":
                self.plain.clear()
        self.marks[txn.life] = b"%d" % txn.seq

    def items(self):
        duplicates = [(key, value) for key, values in self.dups.items() for value in values]
        return {
            b"plain": sorted(self.plain.items()),
            b"dups": sorted(duplicates),
            b"marks": sorted(self.marks.items()),
        }


class Ledger:
    """Everything that writers said so far, in files or (after a power loss) as one text."""

    def __init__(self):
        self.by_life = collections.defaultdict(dict)  # life: {seq: Transaction}, in order of seq

    def add(self, lines):
        for line in lines:
            words = line.split()
            if words[0] == b"P":
                txn = Transaction(words[1], int(words[2]), int(words[3]), int(words[4]), words[5:])
                self.by_life[txn.life][txn.seq] = txn
            else:
                self.by_life[words[1]][int(words[2])].code = int(words[3])


class LiveLedger(Ledger):
    """Reads the files of a directory while they grow."""

    def __init__(self, directory):
        super().__init__()
        self.directory = pathlib.Path(directory)
        self._read = {}  # path: bytes read
        self.acknowledged = 0
        self.failed = 0

    def read(self):
        for path in self.directory.glob("*.oracle"):
            done = self._read.get(path, 0)
            if path.stat().st_size == done:
                continue
            with open(path, "rb") as file:
                file.seek(done)
                text = file.read()
            text = text[: text.rfind(b"\n") + 1]
            self._read[path] = done + len(text)
            lines = text.splitlines()
            self.acknowledged += sum(1 for line in lines if line.startswith(b"R") and line.endswith(b" 0"))
            self.failed += sum(1 for line in lines if line.startswith(b"R") and not line.endswith(b" 0"))
            self.add(lines)


def read_environment(path):
    """{database: items}; those databases that are not there are empty."""
    found = content.contents(path)
    return {name: found[name][1] if name in found else [] for name in (b"plain", b"dups", b"marks")}


class Oracle:
    """Follows one environment through all that happens to it."""

    def __init__(self, ledger, environment):
        self.ledger = ledger
        self.environment = environment
        self.model = Model()
        self.newest = -1  # order of the last transaction that was found there
        self.settled = {}  # life: seq up to which its transactions are settled

    def must_hold(self):
        """Unsettled transactions whose commit has returned 0 by now."""
        return {(life, txn.seq) for life in self.ledger.by_life for txn in self._open(life) if txn.code == 0}

    def _open(self, life):
        """The life's transactions in this environment that are not settled yet, in order."""
        after = self.settled.get(life, 0)
        found = []
        for seq, txn in reversed(self.ledger.by_life[life].items()):
            if seq <= after:
                break
            if txn.environment == self.environment:
                found.append(txn)
        return reversed(found)

    def check(self, found, must_hold, alive=()):
        """`found` as by read_environment; `must_hold` from before it was read; `alive`: lives that
        still run, whose open transactions stay open. Raises Broken."""
        marks = {key: int(value) for key, value in found[b"marks"]}
        held, doubtful = [], []
        for life in list(self.ledger.by_life):
            mark = marks.get(life, 0)
            for txn in self._open(life):
                name = f"transaction {txn.seq} of life {life.decode()}"
                there = txn.seq <= mark
                if not there and (life, txn.seq) in must_hold:
                    raise Broken(f"{name} was committed and is not there")
                if txn.code not in (None, 0):
                    if mark == txn.seq:
                        raise Broken(f"{name} failed with {txn.code} and is there")
                elif there:
                    held.append(txn)
                else:
                    if life not in alive:
                        doubtful.append(txn)
                    break  # open, and so is all that its life did later
                self.settled[life] = txn.seq
        for txn in sorted(held, key=lambda txn: txn.order):
            self.model.apply(txn)
            self.newest = txn.order
        # Who is killed between writing the meta page and the lock file's number has committed, but
        # readers see it only after the next writer: what was not there is settled by a later one.
        for txn in doubtful:
            if txn.order < self.newest:
                self.settled[txn.life] = txn.seq
        for name, expected in self.model.items().items():
            if found[name] != expected:
                raise Broken(f"database {name.decode()}: {_first_difference(expected, found[name])}")


def _first_difference(expected, found):
    wrong = sorted(set(expected) ^ set(found))[:3]
    short = [f"{key!r}={value[:40]!r}" for key, value in wrong]
    there = ["found" if item in found else "due" for item in wrong]
    return f"{len(set(expected) ^ set(found))} items differ, first " + ", ".join(
        f"{what} {text}" for what, text in zip(there, short)
    )
