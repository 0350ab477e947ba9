# SPDX-License-Identifier: Apache-2.0
"""Unmodified programs under their own users: Postfix, PowerDNS, Perl, Python."""

import os
import pathlib
import pwd
import shutil
import subprocess
import unittest

from support import content, writers
from support.pair import Group, PairTest
from support.places import free_port
from support.waiting import wait_until

AS_ROOT = unittest.skipUnless(os.geteuid() == 0, "needs root to run programs as their own users")


class Postfix(PairTest):
    def setUp(self):
        self.start_pair(Group("main", {"maps": "maps/*.lmdb"}, user=self.user, mode="0644"))
        self.maps = self.paris.path("maps")

    @property
    def user(self):
        return "postfix" if os.geteuid() == 0 else ""

    def make_pair(self, *groups):
        super().make_pair(*groups)
        for node in (self.paris, self.lyon):
            node.path("maps").chmod(0o755)
            if self.user:
                shutil.chown(node.path("maps"), self.user)
            # A configuration of its own, so that the machine's Postfix is left alone.
            (node.root / "postfix").mkdir(exist_ok=True)
            (node.root / "postfix" / "main.cf").write_text(
                "compatibility_level = 3.6\ndefault_database_type = lmdb\n"
            )

    def postmap(self, node, *words, user=None, expect=0, input=None):
        command = ["postmap", "-c", node.root / "postfix", *words]
        return node.run(command, user, expect, input=input)

    def source(self, name, lines, owner=None):
        path = self.maps / name
        path.write_text("".join(f"{key} {value}\n" for key, value in lines))
        if owner:
            shutil.chown(path, owner)
        return path

    def services(self):
        found = {}
        for line in pathlib.Path("/etc/services").read_text().splitlines():
            words = line.split("#")[0].split()
            if len(words) >= 2:
                found.setdefault(words[1].lower(), words[0])
        return sorted(found.items())

    def test_postmap_as_root_is_captured_and_its_copy_answers_postmap_q(self):
        lines = self.services()
        self.source("services", lines)
        self.postmap(self.paris, f"lmdb:{self.maps}/services")
        self.assert_equal_copies()
        self.assertEqual(content.count(self.lyon.path("maps/services.lmdb")), len(lines))
        for node in (self.paris, self.lyon):
            answer = self.postmap(node, "-q", "25/tcp", f"lmdb:{node.path('maps')}/services")
            self.assertEqual(answer.stdout.strip(), "smtp")

    @AS_ROOT
    def test_postmap_takes_the_identity_of_the_sources_owner(self):
        self.source("owned", self.services(), owner="postfix")
        self.postmap(self.paris, f"lmdb:{self.maps}/owned")
        self.assert_equal_copies()
        self.assertEqual((self.maps / "owned.lmdb").owner(), "postfix")

    @AS_ROOT
    def test_postmap_run_by_postfix_itself_is_captured(self):
        self.source("byuser", self.services(), owner="postfix")
        self.postmap(self.paris, f"lmdb:{self.maps}/byuser", user="postfix")
        self.assert_equal_copies()

    def test_a_map_that_is_made_again_incremented_and_shortened_stays_equal(self):
        map_name = f"lmdb:{self.maps}/users"
        self.source("users", [(f"user{n}@example.test", f"box{n}") for n in range(500)])
        self.postmap(self.paris, map_name)
        self.assert_equal_copies()
        self.source("users", [(f"user{n}@example.test", f"other{n}") for n in range(100, 300)])
        self.postmap(self.paris, map_name)
        self.postmap(self.paris, "-i", map_name, input="new@example.test boxnew\n")
        self.postmap(self.paris, "-d", "user100@example.test", map_name)
        self.assert_equal_copies()
        self.assertEqual(content.count(self.lyon.path("maps/users.lmdb")), 200)

    def test_postmap_reads_the_copy_while_it_is_written(self):
        # Postfix reads with MDB_NOLOCK; under capture it takes its place in the reader table.
        lines = [(f"user{n}@example.test", "box" * 30 + str(n)) for n in range(3000)]
        self.source("busy", lines)
        self.postmap(self.paris, f"lmdb:{self.maps}/busy")
        self.assert_equal_copies()
        reader = self.background_python(self.lyon, self.READER, self.lyon.path("maps/busy.lmdb"))
        for shift in range(8):
            self.source("busy", [(key, f"{value}.{shift}") for key, value in lines])
            writer = self.background(
                self.paris, ["postmap", "-c", self.paris.root / "postfix", f"lmdb:{self.maps}/busy"]
            )
            for _ in range(4):  # postmap -s takes a transaction an item, so runs may mix in its list
                found = self.postmap(self.lyon, "-s", f"lmdb:{self.lyon.path('maps')}/busy").stdout
                self.assertEqual(len(found.splitlines()), 3000)
            writer.finish()
        self.assert_equal_copies()
        self.assertTrue(reader.running(), reader.log)

    # Whole updates only: in one transaction every item is of the same run of postmap.
    READER = """
import lmdb, sys
env = lmdb.open(sys.argv[1], subdir=False, readonly=True)
while True:
    with env.begin() as txn:
        runs = {value.rpartition(b".")[2] if b"." in value else b"" for _, value in txn.cursor()}
    if len(runs) != 1: sys.exit(f"items of {len(runs)} runs in one transaction")
"""

    def test_a_map_that_outgrows_its_first_size_is_captured_once(self):
        # Postfix starts with a 16 MB map; when that is full it doubles it and goes on.
        self.source("large", [(f"user{n:07}@example.test", "box" + "x" * 120) for n in range(120_000)])
        self.postmap(self.paris, f"lmdb:{self.maps}/large")
        self.assert_equal_copies(120)
        self.assertEqual(content.count(self.lyon.path("maps/large.lmdb")), 120_000)
        self.assert_no_gap()


@AS_ROOT
class PowerDns(PairTest):
    def setUp(self):
        self.start_pair(
            Group("main", {"zones": "dns/pdns.lmdb*"}, user="pdns", mode="0660"),
        )
        self.servers = []

    def make_pair(self, *groups):
        super().make_pair(*groups)
        for node in (self.paris, self.lyon):
            for folder in (node.path("dns"), node.root / "run"):
                folder.mkdir(exist_ok=True)
                folder.chmod(0o755)
                shutil.chown(folder, "pdns", "pdns")
            (node.root / "pdns").mkdir()
            node.dns_port = free_port()
            (node.root / "pdns" / "pdns.conf").write_text(
                f"launch=lmdb\nlmdb-filename={node.path('dns/pdns.lmdb')}\n"
                f"local-address=127.0.0.1\nlocal-port={node.dns_port}\nsocket-dir={node.root / 'run'}\n"
                "daemon=no\nguardian=no\nwebserver=no\napi=no\nsecurity-poll-suffix=\n"
                "cache-ttl=0\nquery-cache-ttl=0\nnegquery-cache-ttl=0\nzone-cache-refresh-interval=1\n"
            )

    def pdnsutil(self, *words, user=None):
        return self.paris.run(["pdnsutil", f"--config-dir={self.paris.root / 'pdns'}", *words], user)

    def zone(self, name, hosts):
        path = self.paris.root / f"{name}.zone"
        lines = [
            f"$ORIGIN {name}.",
            f"@ 3600 IN SOA ns1.{name}. host.{name}. 1 3600 600 86400 300",
            f"@ 3600 IN NS ns1.{name}.",
        ]
        lines += [f"h{n} 60 IN A 127.0.{n // 250}.{n % 250 + 1}" for n in range(hosts)]
        path.write_text("\n".join(lines) + "\n")
        return path

    def start_dns(self, node):
        """pdns_server, started by root as an init script would; it becomes user pdns by itself."""
        command = ["pdns_server", f"--config-dir={node.root / 'pdns'}", "--setuid=pdns", "--setgid=pdns"]
        server = self.background(node, command)
        server.wait_for("ready to distribute questions")
        return server

    def dig(self, node, name, kind="A"):
        words = ["dig", "+short", "+tries=1", "+time=2", "-p", str(node.dns_port), "@127.0.0.1", name, kind]
        return subprocess.run(words, capture_output=True, text=True, check=False).stdout.split()

    def test_zones_made_by_pdnsutil_fill_64_shards_and_a_server_on_the_copies_answers(self):
        self.pdnsutil("create-zone", "example.test", "ns1.example.test")
        master = self.start_dns(self.paris)
        for number in range(66):
            name = f"zone{number}.test"
            self.pdnsutil("load-zone", name, self.zone(name, 5))
        self.pdnsutil("load-zone", "large.test", self.zone("large.test", 3000))
        self.pdnsutil("add-record", "example.test", "www", "A", "300", "127.0.0.9")
        self.pdnsutil("add-record", "example.test", "mail", "MX", "300", "10 mail.example.test.", user="pdns")
        self.assertGreaterEqual(self.assert_equal_copies(), 65)

        self.assertTrue(wait_until(lambda: self.dig(self.paris, "www.example.test"), "paris to answer"))
        slave = self.start_dns(self.lyon)
        # A running pdns_server looks for new zones once in its zone-cache-refresh-interval.
        answers = {"www.example.test": "127.0.0.9", "h4.zone65.test": "127.0.0.5", "h2999.large.test": "127.0.11.250"}
        for node in (self.paris, self.lyon):
            for name, address in answers.items():
                wait_until(lambda n=node, q=name, a=address: self.dig(n, q) == [a], f"{node.name} to answer {name}")

        # Both servers run on; what is changed now reaches the one on the copies as well.
        self.pdnsutil("add-record", "example.test", "later", "A", "300", "127.0.0.77")
        wait_until(lambda: self.dig(self.lyon, "later.example.test") == ["127.0.0.77"], "lyon to answer")
        self.pdnsutil("delete-zone", "zone7.test")
        wait_until(lambda: not self.dig(self.lyon, "h4.zone7.test"), "lyon to forget the zone")
        self.assertTrue(master.running() and slave.running())
        self.assert_equal_copies()
        self.assert_no_gap()

    def test_every_file_belongs_to_the_groups_user_whoever_writes_first(self):
        self.pdnsutil("create-zone", "example.test", "ns1.example.test")
        self.pdnsutil("add-record", "example.test", "a", "A", "300", "127.0.0.1", user="pdns")
        self.assert_equal_copies()
        for node in (self.paris, self.lyon):
            for path in node.path("dns").glob("pdns.lmdb*"):
                self.assertEqual(path.owner(), "pdns", path)
                self.assertEqual(path.stat().st_mode & 0o777, 0o660, path)

    def test_pdnsutil_on_the_slave_is_refused_and_changes_nothing(self):
        self.pdnsutil("create-zone", "example.test", "ns1.example.test")
        self.assert_equal_copies()
        words = ["pdnsutil", f"--config-dir={self.lyon.root / 'pdns'}"]
        self.lyon.run([*words, "list-all-zones"])
        done = self.lyon.run(
            [*words, "add-record", "example.test", "no", "A", "300", "127.0.0.1"], expect=None
        )
        self.assertNotEqual(done.returncode, 0)
        self.assert_equal_copies()

    def test_a_zone_signed_by_pdnsutil_has_the_same_keys_in_the_copy(self):
        self.pdnsutil("load-zone", "signed.test", self.zone("signed.test", 20))
        self.pdnsutil("secure-zone", "signed.test")
        self.pdnsutil("set-meta", "signed.test", "ALLOW-AXFR-FROM", "127.0.0.1")
        self.pdnsutil("rectify-zone", "signed.test")
        self.assert_equal_copies()
        self.start_dns(self.lyon)
        self.assertTrue(self.dig(self.lyon, "signed.test", "DNSKEY"))


class Perl(PairTest):
    PROGRAM = r"""
use strict; use LMDB_File qw(:flags :cursor_op);
my $dir = shift; mkdir $dir;
my $env = LMDB::Env->new($dir, {mapsize => 64 << 20, maxdbs => 8, mode => 0660});
my $txn = $env->BeginTxn;
my $mods = $txn->OpenDB({dbname => 'modules', flags => MDB_CREATE | MDB_DUPSORT});
for my $inc (grep { -d } @INC) {
  for my $file (glob("$inc/*.pm")) { (my $name = $file) =~ s{.*/}{}; $mods->put($name, $file) }
}
$txn->commit;
$txn = $env->BeginTxn;
my $sizes = $txn->OpenDB({dbname => 'sizes', flags => MDB_CREATE | MDB_INTEGERKEY});
$sizes->put($_, "size $_") for 1 .. 500;
my $main = $txn->OpenDB({flags => MDB_CREATE});
$main->put("perl", "$^V");
my $child = $txn->SubTxn; LMDB_File->new($child, $sizes->dbi)->del(7); $child->abort;
$txn->commit;
$txn = $env->BeginTxn;
$sizes = LMDB_File->new($txn, $sizes->dbi);
my $cursor = $sizes->Cursor; my ($key, $data);
$cursor->get($key, $data, MDB_FIRST);
for (1 .. 20) { $cursor->del; $cursor->get($key, $data, MDB_NEXT) }
for my $number (495 .. 498, 501) { eval { $sizes->put($number, "again", MDB_NOOVERWRITE) } }
$txn->commit; print "done";
"""

    def test_perls_lmdb_file_is_captured(self):
        self.start_pair(Group("main", {"perl": "perl"}))
        done = self.paris.run(["perl", "-e", self.PROGRAM, self.paris.path("perl")], expect=None)
        self.assertIn("done", done.stdout, done.stderr)
        self.assert_equal_copies()
        self.assertGreater(content.count(self.lyon.path("perl")), 550)

    def test_a_tied_perl_hash_is_captured(self):
        self.start_pair(Group("main", {"perl": "perl"}))
        text = r"""
use LMDB_File; my $dir = shift; mkdir $dir;
{ tie my %hash, 'LMDB_File', $dir; $hash{"k$_"} = "v$_" x $_ for 1 .. 100; delete $hash{k5}; untie %hash; }
print "done";
"""
        done = self.paris.run(["perl", "-e", text, self.paris.path("perl")], expect=None)
        self.assertIn("done", done.stdout, done.stderr)
        self.assert_equal_copies()
        self.assertEqual(content.count(self.lyon.path("perl")), 99)


@AS_ROOT
class PythonAsNobody(PairTest):
    def test_python_as_a_plain_user_is_captured_with_the_groups_files_its_own(self):
        self.start_pair(Group("main", {"notes": "notes"}, user="nobody", mode="0600"))
        self.paris.python(writers.NUMBERED, self.paris.path("notes"), 100, user="nobody")
        self.assert_equal_copies()
        self.paris.python(writers.NUMBERED, self.paris.path("notes"), 50, 100)
        self.paris.python(writers.NUMBERED, self.paris.path("notes"), 50, 150, user="nobody")
        self.assert_equal_copies()
        nobody = pwd.getpwnam("nobody").pw_uid
        for node in (self.paris, self.lyon):
            for path in node.path("notes").glob("*.mdb"):
                self.assertEqual((path.stat().st_uid, path.stat().st_mode & 0o777), (nobody, 0o600), path)

    def test_a_user_without_rights_to_the_group_is_refused_and_harms_nothing(self):
        self.start_pair(Group("main", {"notes": "notes"}, user="postfix", mode="0600"))
        self.paris.python(writers.NUMBERED, self.paris.path("notes"), 20, user="postfix")
        done = self.paris.python(
            writers.NUMBERED, self.paris.path("notes"), 20, 100, user="nobody", expect=None
        )
        self.assertNotEqual(done.returncode, 0)
        self.assert_equal_copies()




if __name__ == "__main__":
    unittest.main(verbosity=2)
