#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""compare.py FIRST SECOND: two LMDB environments item by item, read by plain LMDB.

Prints the number of databases and items when they are equal, the first difference otherwise (ends with 1).
"""

import itertools
import os
import sys

import lmdb


def open_environment(path):
    return lmdb.open(path, subdir=os.path.isdir(path), readonly=True, create=False, max_dbs=256)


def databases(env, txn):
    """{name: handle}, the main database under None."""
    main = env.open_db(None, txn)
    found = {None: main}
    if not main.flags(txn)["dupsort"]:
        for key in txn.cursor(main).iternext(values=False):
            try:
                if b"\0" not in key:
                    found[key] = env.open_db(key, txn, create=False)
            except lmdb.Error:
                pass  # a plain item
    return found


def items(txn, handle, names):
    return (item for item in txn.cursor(handle) if item[0] not in names)


def main():
    first, second = (open_environment(path) for path in sys.argv[1:3])
    with first.begin() as one, second.begin() as two:
        a, b = databases(first, one), databases(second, two)
        if a.keys() != b.keys():
            sys.exit(f"databases differ: {sorted(a.keys() ^ b.keys(), key=str)}")
        count = 0
        for name in a:
            if a[name].flags(one) != b[name].flags(two):
                sys.exit(f"database {name}: flags differ")
            skip = [key for key in a if key is not None] if name is None else []
            pairs = itertools.zip_longest(items(one, a[name], skip), items(two, b[name], skip))
            for item_a, item_b in pairs:
                if item_a != item_b:
                    sys.exit(f"database {name}: {item_a} and {item_b} differ")
                count += 1
        print(len(a) - 1, count)


main()
