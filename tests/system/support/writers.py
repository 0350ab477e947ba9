# SPDX-License-Identifier: Apache-2.0
"""Programs that the tests run under capture: Python source, unaware of hotbackup."""

# argv: path, number of transactions, first number. One item with its number a transaction.
NUMBERED = """
import lmdb, sys
path, many, first = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0
env = lmdb.open(path, map_size=1 << 30, max_dbs=8)
items = env.open_db(b"items")
for number in range(first, first + many):
    with env.begin(write=True) as txn:
        txn.put(b"%08d" % number, b"value %d " % number + b"x" * (number % 300), db=items)
print("done")
"""

# argv: path. Writes until it is ended; prints the number of each committed transaction.
ENDLESS = """
import lmdb, sys
env = lmdb.open(sys.argv[1], map_size=1 << 30, max_dbs=8)
items = env.open_db(b"items")
number = 0
while True:
    with env.begin(write=True) as txn:
        txn.put(b"%08d" % (number % 5000), b"value %d " % number + b"y" * (number % 500), db=items)
        if number % 7 == 0:
            txn.delete(b"%08d" % (number * 31 % 5000), db=items)
    number += 1
    print(number, flush=True)
"""

# argv: seconds, seed, threads, paths… Threads write random transactions in random environments.
THREADS = """
import lmdb, random, sys, threading, time
seconds, seed, threads, paths = float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
envs = [lmdb.open(path, map_size=4 << 30, max_dbs=8) for path in paths]
handles = [(env.open_db(b"plain"), env.open_db(b"sorted", dupsort=True)) for env in envs]
end = time.monotonic() + seconds
committed = [0] * threads
failed = []
def work(thread):
    rnd = random.Random(seed * 1000 + thread)
    try:
        while time.monotonic() < end:
            which = rnd.randrange(len(envs))
            plain, dups = handles[which]
            txn = envs[which].begin(write=True)
            txn.put(b"last%d" % thread, rnd.randbytes(8), db=plain)
            for _ in range(rnd.randrange(0, 12)):
                key = b"%d-%d" % (seed % 3, rnd.randrange(3000))
                action = rnd.randrange(10)
                if action < 5:
                    txn.put(key, rnd.randbytes(rnd.randrange(1, 400)), db=plain)
                elif action < 8:
                    txn.put(key, rnd.randbytes(rnd.randrange(1, 40)), db=dups)
                else:
                    txn.delete(key, db=plain if action == 8 else dups)
            if rnd.randrange(10) == 0:
                txn.abort()
            else:
                txn.commit()
                committed[thread] += 1
    except Exception as error:
        failed.append(repr(error))
workers = [threading.Thread(target=work, args=(n,)) for n in range(threads)]
for worker in workers: worker.start()
for worker in workers: worker.join()
for env in envs: env.close()
print(sum(committed))
sys.exit("; ".join(failed) if failed else 0)
"""
