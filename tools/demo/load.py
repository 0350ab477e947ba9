#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Loads data of this machine into LMDB with python3-lmdb: an ordinary program, unaware of hotbackup.

load.py packages ENV       the dpkg database: a package an item, and who depends on whom (sorted duplicates)
load.py files ENV FOLDER   an item for each file below FOLDER, a transaction for every 20 files
load.py zones DIRECTORY N  N zone files made of the packages' names and versions; prints the zones' names
"""

import hashlib
import os
import pathlib
import re
import sys

import lmdb


def packages():
    """(name, fields) of each entry of the dpkg database."""
    for entry in pathlib.Path("/var/lib/dpkg/status").read_text(errors="replace").split("\n\n"):
        fields = dict(re.findall(r"^([A-Za-z-]+): *(.*)$", entry, re.MULTILINE))
        if "Package" in fields:
            yield fields["Package"], fields, entry


def load_packages(path):
    env = lmdb.open(path, map_size=256 << 20, max_dbs=8)
    status = env.open_db(b"status")
    needs = env.open_db(b"needed-by", dupsort=True)
    count = 0
    for name, fields, entry in packages():
        with env.begin(write=True) as txn:
            txn.put(name.encode(), entry.encode(), db=status)
            for other in re.findall(r"(?:^|[,|]) *([a-z0-9.+-]+)", fields.get("Depends", "")):
                txn.put(other.encode(), name.encode(), db=needs)
        count += 1
    print(count)


def load_files(path, folder):
    env = lmdb.open(path, map_size=2 << 30, max_dbs=8)
    sizes, digests = env.open_db(b"sizes"), env.open_db(b"digests", dupsort=True)
    txn, count = env.begin(write=True), 0
    for directory, _, names in os.walk(folder):
        for name in names:
            file = os.path.join(directory, name)
            key = file.encode(errors="surrogateescape")[:500]
            try:
                data = pathlib.Path(file).read_bytes()[: 1 << 16]
            except OSError:
                continue
            txn.put(key, b"%d" % len(data), db=sizes)
            txn.put(hashlib.sha256(data).digest(), key, db=digests)
            count += 1
            if count % 20 == 0:
                txn.commit()
                print(count, flush=True)
                txn = env.begin(write=True)
            if count == 20000:
                txn.commit()
                return
    txn.commit()


def make_zones(directory, many):
    """Packages by first letters, as zones: a name an address made of its version, and a TXT record."""
    zones = [[] for _ in range(many)]
    for name, fields, _ in packages():
        zones[int(hashlib.md5(name.encode()).hexdigest(), 16) % many].append((name, fields))
    for number, members in enumerate(zones):
        zone = f"packages{number:02}.demo.test"
        lines = [
            f"$ORIGIN {zone}.",
            f"@ 3600 IN SOA ns1.{zone}. hostmaster.{zone}. 1 3600 600 86400 300",
            f"@ 3600 IN NS ns1.{zone}.",
            "ns1 3600 IN A 127.0.0.1",
        ]
        for name, fields in members:
            label = re.sub(r"[^a-z0-9-]", "-", name)[:60].strip("-")
            digest = hashlib.sha256(fields.get("Version", "").encode()).digest()
            lines.append(f"{label} 300 IN A 127.{digest[0]}.{digest[1]}.{digest[2]}")
            lines.append(f'{label} 300 IN TXT "{fields.get("Version", "")}"')
        (pathlib.Path(directory) / f"{zone}.zone").write_text("\n".join(lines) + "\n")
        print(zone)


def main():
    what, arguments = sys.argv[1], sys.argv[2:]
    if what == "packages":
        load_packages(*arguments)
    elif what == "files":
        load_files(*arguments)
    elif what == "zones":
        make_zones(arguments[0], int(arguments[1]))
    else:
        sys.exit(__doc__)


main()
