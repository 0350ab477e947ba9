#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
# Loads the Perl modules of this machine into LMDB with LMDB_File: which files hold a module (sorted
# duplicates), and the character names of perl's Unicode tables by number.
use strict;
use warnings;
use LMDB_File qw(:flags :cursor_op);

my ($directory) = @ARGV;
mkdir $directory;
my $env = LMDB::Env->new($directory, {mapsize => 256 << 20, maxdbs => 8, mode => 0660});

my $txn = $env->BeginTxn;
my $modules = $txn->OpenDB({dbname => 'modules', flags => MDB_CREATE | MDB_DUPSORT});
my $count = 0;
for my $folder (grep { -d } @INC) {
  for my $file (glob("$folder/*.pm $folder/*/*.pm")) {
    (my $name = $file) =~ s{^\Q$folder\E/}{};
    $modules->put($name, $file);
    $count++;
  }
}
$txn->commit;

$txn = $env->BeginTxn;
my $names = $txn->OpenDB({dbname => 'unicode', flags => MDB_CREATE | MDB_INTEGERKEY});
if (my $table = do 'unicore/Name.pl') {
  for my $line (split /\n\n/, $table) {
    next unless $line =~ /^([0-9A-F]{5,6})\n(.+)$/;
    $names->put(hex $1, $2);
    $count++;
  }
}
$txn->commit;
print "$count\n";
