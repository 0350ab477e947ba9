# SPDX-License-Identifier: Apache-2.0
"""Comparing two LMDB environments item by item, read by plain LMDB without capture."""

import contextlib
import ctypes
import itertools
import os

import lmdb

_DATABASES_MAX = 1024


@contextlib.contextmanager
def reading(path):
    """A read transaction on an environment at `path`, directory or file: yields (env, txn)."""
    path = str(path)
    env = lmdb.open(
        path, subdir=os.path.isdir(path), readonly=True, create=False, max_dbs=_DATABASES_MAX
    )
    try:
        with env.begin() as txn:
            yield env, txn
    finally:
        env.close()


def databases(env, txn):
    """{name or None: handle}; None is the main database."""
    main = env.open_db(None, txn)
    found = {None: main}
    if main.flags(txn)["dupsort"]:
        return found
    for key in txn.cursor(main).iternext(values=False):
        if b"\0" in key or not key:
            continue  # no database has such a name, and LMDB would cut it at the zero
        try:
            found[key] = env.open_db(key, txn, create=False)
        except lmdb.Error:
            pass  # a plain item
    return found


def _items(txn, handle, names):
    """(key, value) in order, every duplicate; without the records of named databases."""
    for key, value in txn.cursor(handle).iternext(keys=True, values=True):
        if key not in names:
            yield key, value


def contents(path):
    """{database name or None: (flags, [(key, value), …])}."""
    with reading(path) as (env, txn):
        found = databases(env, txn)
        names = {name for name in found if name is not None}
        return {
            name: (handle.flags(txn), list(_items(txn, handle, names if name is None else ())))
            for name, handle in found.items()
        }


def count(path):
    """Number of items in all databases."""
    with reading(path) as (env, txn):
        found = databases(env, txn)
        return sum(txn.stat(handle)["entries"] for handle in found.values()) - (len(found) - 1)


def differences(first, second, most=10):
    """What differs between two environments, as sentences; none when they are equal."""
    with reading(first) as (env_a, txn_a), reading(second) as (env_b, txn_b):
        a, b = databases(env_a, txn_a), databases(env_b, txn_b)
        found = []
        for name in sorted(a.keys() ^ b.keys(), key=str):
            found.append(f"database {name} is only in {first if name in a else second}")
        names = {name for name in a.keys() | b.keys() if name is not None}
        for name in sorted(a.keys() & b.keys(), key=str):
            flags_a, flags_b = a[name].flags(txn_a), b[name].flags(txn_b)
            if flags_a != flags_b:
                found.append(f"database {name}: flags {flags_a} and {flags_b}")
                continue
            skip = names if name is None else ()
            pairs = itertools.zip_longest(_items(txn_a, a[name], skip), _items(txn_b, b[name], skip))
            for item_a, item_b in pairs:
                if item_a != item_b:
                    found.append(f"database {name}: {_short(item_a)} and {_short(item_b)}")
                    break
        return found[:most]


def _short(item):
    return "nothing" if item is None else f"{item[0][:60]!r}={item[1][:60]!r}"


def make_main_dupsort(path):
    """As a foreign program may: py-lmdb does not."""
    library = ctypes.CDLL("liblmdb.so.0")
    env, txn, database = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_uint()
    dupsort = 0x04
    for code in (
        library.mdb_env_create(ctypes.byref(env)),
        library.mdb_env_open(env, str(path).encode(), 0, 0o660),
        library.mdb_txn_begin(env, None, 0, ctypes.byref(txn)),
        library.mdb_dbi_open(txn, None, dupsort, ctypes.byref(database)),
        library.mdb_txn_commit(txn),
    ):
        assert code == 0, code
    library.mdb_env_close(env)
