# SPDX-License-Identifier: Apache-2.0
"""A program that does random things through python-lmdb and keeps a plain model of the result.

argv: environment, file of the model (read if there, written at the end), seed, transactions.
Knows nothing of hotbackup. The model: {name or None: {"flags": {…}, "items": [(key, value), …]}}.
"""

import copy
import os
import pickle
import random
import struct
import sys

import lmdb

KINDS = {
    None: {},
    b"plain": {},
    b"reversed": dict(reverse_key=True),
    b"integers": dict(integerkey=True),
    b"sorted": dict(dupsort=True),
    b"fixed": dict(dupsort=True, dupfixed=True),
    b"integerdups": dict(dupsort=True, dupfixed=True, integerdup=True),
    b"all": dict(dupsort=True, dupfixed=True, integerdup=True, integerkey=True),
}


class Database:
    """One database and its model: {key: set of values}, one value each unless dupsort."""

    def __init__(self, name, flags):
        self.name = name
        self.flags = flags
        self.handle = None
        self.items = {}

    def first(self, key):
        """The value that LMDB sorts first."""
        values = self.items[key]
        if self.flags.get("integerdup"):
            return min(values, key=lambda value: struct.unpack("=Q", value))
        return min(values)

    def forget(self, key, value):
        self.items[key].discard(value)
        if not self.items[key]:
            del self.items[key]


class Program:
    def __init__(self, path, saved, seed):
        self.rnd = random.Random(seed)
        self.path = path
        self.databases = {name: Database(name, flags) for name, flags in KINDS.items()}
        self.missing = set()  # dropped whole
        if os.path.exists(saved):
            with open(saved, "rb") as file:
                before = pickle.load(file)
            for name, database in self.databases.items():
                for key, value in before.get(name, {"items": []})["items"]:
                    database.items.setdefault(key, set()).add(value)
        self.open()

    def open(self):
        options = dict(map_size=1 << 30, max_dbs=32)
        if self.rnd.randrange(4) == 0:
            options["writemap"] = True
        if self.rnd.randrange(5) == 0:
            options["sync"] = False
        self.env = lmdb.open(self.path, **options)
        for database in self.databases.values():
            database.handle = self.env.open_db(database.name, **database.flags)

    def key(self, database):
        if database.flags.get("integerkey"):
            return struct.pack("=Q", self.rnd.randrange(150))
        number = self.rnd.randrange(150)
        stem = b"key%d" % number
        return stem + b"\0" * (number % 3) + b"k" * (number * 3 % 480)

    def value(self, database):
        rnd = self.rnd
        if database.flags.get("integerdup"):
            return struct.pack("=Q", rnd.randrange(60) * 0x0101010101)
        if database.flags.get("dupfixed"):
            return b"%012d" % rnd.randrange(60)
        if database.flags.get("dupsort"):
            return b"v%d" % rnd.randrange(40) + b"d" * rnd.choice([1, 3, 400])
        size = rnd.choice([0, 1, 20, 200, 200, 2100, 4096, 9000, 70000 if rnd.random() < 0.2 else 5])
        if rnd.random() < 0.004:
            size = rnd.randrange(250_000, 900_000)
        return rnd.randbytes(size)

    def pick(self):
        return self.rnd.choice(list(self.databases.values()))

    # Each action does one thing to the transaction and the same to the model, and checks the answer.

    def put(self, txn, db):
        key, value = self.key(db), self.value(db)
        overwrite, dupdata = self.rnd.random() < 0.75, self.rnd.random() < 0.75
        there = db.items.get(key)
        if not overwrite:
            expected = there is None
        elif not dupdata and db.flags.get("dupsort"):
            expected = there is None or value not in there
        else:
            expected, dupdata = True, True
        answer = txn.put(key, value, db=db.handle, overwrite=overwrite, dupdata=dupdata)
        assert answer == expected, (db.name, key, value, answer, overwrite, dupdata)
        if answer:
            if db.flags.get("dupsort"):
                db.items.setdefault(key, set()).add(value)
            else:
                db.items[key] = {value}

    def delete(self, txn, db):
        key = self.key(db)
        there = db.items.get(key)
        if there and db.flags.get("dupsort") and self.rnd.random() < 0.6:
            value = self.rnd.choice(sorted(there)) if self.rnd.random() < 0.8 else self.value(db)
            if value:
                answer = txn.delete(key, value, db=db.handle)
                assert answer == (value in there)
                there.discard(value)
                if not there:
                    del db.items[key]
                return
        assert txn.delete(key, db=db.handle) == (there is not None)
        db.items.pop(key, None)

    def replace(self, txn, db):
        key, value = self.key(db), self.value(db)
        old = db.first(key) if key in db.items else None
        assert txn.replace(key, value, db=db.handle) == old
        db.items[key] = {value}

    def pop(self, txn, db):
        key = self.key(db)
        old = db.first(key) if key in db.items else None
        assert txn.pop(key, db=db.handle) == old
        if old is not None:
            db.forget(key, old)

    def put_many(self, txn, db):
        pairs = [(self.key(db), self.value(db)) for _ in range(self.rnd.randrange(1, 30))]
        if self.rnd.random() < 0.5:
            pairs.sort()
        with txn.cursor(db.handle) as cursor:
            consumed, _ = cursor.putmulti(pairs)
        assert consumed == len(pairs)
        for key, value in pairs:
            if db.flags.get("dupsort"):
                db.items.setdefault(key, set()).add(value)
            else:
                db.items[key] = {value}

    def walk(self, txn, db):
        """A cursor that deletes, replaces and puts as it goes."""
        with txn.cursor(db.handle) as cursor:
            if not cursor.set_range(self.key(db)):
                return
            for _ in range(self.rnd.randrange(1, 10)):
                key, value = cursor.item()
                if not key:
                    return
                if key in KINDS:  # the record of a named database, in the main one
                    if not cursor.next():
                        return
                    continue
                assert value in db.items[key], (db.name, key, value)
                action = self.rnd.randrange(5)
                if action == 0:
                    all_of_them = self.rnd.random() < 0.4
                    assert cursor.delete(dupdata=all_of_them)
                    if all_of_them:
                        del db.items[key]
                    else:
                        db.forget(key, value)
                elif action == 1:
                    new = self.value(db)
                    old = db.first(key)
                    assert cursor.replace(key, new) == old
                    db.items[key] = {new}
                elif action == 2:
                    new = self.value(db)
                    assert cursor.put(key, new)
                    if db.flags.get("dupsort"):
                        db.items[key].add(new)
                    else:
                        db.items[key] = {new}
                elif action == 3:
                    old = db.first(key)
                    assert cursor.pop(key) == old
                    db.forget(key, old)
                # After a change LMDB 0.9.24 does not promise where a cursor stands: search again.
                if not (cursor.next() if action == 4 else cursor.set_range(key)):
                    return

    def empty(self, txn, db):
        if db.name is None or self.rnd.random() < 0.7:
            return
        txn.drop(db.handle, delete=False)
        db.items = {}

    ACTIONS = [put] * 10 + [delete] * 5 + [replace] * 3 + [pop] * 2 + [put_many] * 2 + [walk] * 4 + [empty]

    def remember(self):
        return {name: copy.deepcopy(db.items) for name, db in self.databases.items()}

    def go_back(self, items):
        for name, db in self.databases.items():
            db.items = items[name]

    def fill(self, txn, depth):
        for _ in range(self.rnd.randrange(0, 12)):
            if depth < 3 and self.rnd.random() < 0.08:
                self.nested(txn, depth + 1)
            else:
                self.rnd.choice(self.ACTIONS)(self, txn, self.pick())

    def nested(self, parent, depth):
        if self.writemap:
            return  # LMDB has no nested transactions with MDB_WRITEMAP
        before = self.remember()
        txn = self.env.begin(write=True, parent=parent)
        self.fill(txn, depth)
        if self.rnd.random() < 0.4:
            txn.abort()
            self.go_back(before)
        else:
            txn.commit()

    def transaction(self):
        before = self.remember()
        txn = self.env.begin(write=True)
        self.fill(txn, 0)
        if self.rnd.random() < 0.2:
            txn.abort()
            self.go_back(before)
        else:
            txn.commit()

    def drop_database(self):
        """A whole named database goes, in a transaction of its own, and comes back empty."""
        db = self.pick()
        if db.name is None:
            return
        with self.env.begin(write=True) as txn:
            txn.drop(db.handle, delete=True)
        db.items = {}
        if self.rnd.random() < 0.5:
            self.reopen()
        else:
            db.handle = self.env.open_db(db.name, **db.flags)

    def reopen(self):
        self.env.close()
        self.open()

    @property
    def writemap(self):
        return self.env.flags()["writemap"]

    def run(self, transactions):
        for _ in range(transactions):
            chance = self.rnd.random()
            if chance < 0.01:
                self.reopen()
            elif chance < 0.03:
                self.drop_database()
            else:
                self.transaction()
        self.env.close()

    def model(self):
        return {
            name: {
                "flags": {flag: True for flag in db.flags},
                "items": [(key, value) for key, values in db.items.items() for value in values],
            }
            for name, db in self.databases.items()
        }


def main():
    path, saved, seed, transactions = sys.argv[1:]
    program = Program(path, saved, int(seed))
    program.run(int(transactions))
    with open(saved, "wb") as file:
        pickle.dump(program.model(), file)


main()
