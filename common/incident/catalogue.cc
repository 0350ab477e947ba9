// SPDX-License-Identifier: Apache-2.0
#include "common/incident/catalogue.h"

#include <algorithm>

namespace hotbackup::incident {
namespace {

using enum Severity;

constexpr Entry kCatalogue[] = {
    {"HB-applied-unknown", kError,
     "The slave cannot tell how far its copies are: the file applied is damaged or missing.",
     "hotbackup init GROUP --role slave --replace begins anew with a seed"},
    {"HB-apply-failed", kError,
     "An update cannot be applied to a copy; receiving goes on, applying does not.",
     "mend what the text names and type hotbackup retry GROUP, or go on without the update: "
     "hotbackup skip GROUP N --reason TEXT"},
    {"HB-archive-failed", kError,
     "The archive command failed on a journal segment; it is tried again, and the journal grows.",
     "mend what the text says, or set archive = \"off\""},
    {"HB-boot-unconfirmed", kWarning,
     "This machine was started as master, and no peer has confirmed since that it still is; writes "
     "go on after boot_wait.",
     "see that the peers run and can be reached; on a peer, hotbackup status says whether it was "
     "promoted"},
    {"HB-clock-differs", kWarning,
     "The clocks of two nodes are more than a second apart: times in logs, in lag and of --until "
     "disagree.",
     "see to NTP on both; it is measured anew with each heartbeat and each link"},
    {"HB-commit-failed", kError,
     "The disk failed LMDB's write or sync of a commit on the master: it did not happen, and its "
     "program was told.",
     "look after the disk, or make room; it goes with the next commit that succeeds"},
    {"HB-copy-differs", kError, "A copy is known not to be what its master has.",
     "hotbackup compare GROUP --repair lists what differs, mends it and proves it"},
    {"HB-copy-failed", kError, "The disk of a copy failed a write or sync; applying waits.",
     "look after the disk; it goes on by itself when the disk works again"},
    {"HB-copy-replaced", kError,
     "Another file, or none, is where a copy was; nothing is applied to it.",
     "put the copy back and type hotbackup retry GROUP, or seed anew: hotbackup init GROUP --role "
     "slave --replace"},
    {"HB-copy-written", kError, "A program wrote to a copy without the library.",
     "stop that program, then hotbackup compare GROUP --repair"},
    {"HB-disk-full", kError, "The slave's disk has no room for the journal.",
     "make room; it goes on by itself"},
    {"HB-disk-low", kWarning, "The disk of the journal is nearly full.",
     "make room before it is full; hotbackup status GROUP says what the journal is kept for"},
    {"HB-environment-sync-failed", kError,
     "The disk failed a sync of an environment; the journal keeps everything from then on.",
     "look after the disk, compare the copies, then restart hotbackup-master"},
    {"HB-fenced", kError, "Another node was promoted: this node takes no writes.",
     "point programs to the master that the text names; this node follows it by itself, or "
     "hotbackup status says what it waits for"},
    {"HB-hook-failed", kWarning, "A hook of the configuration failed.",
     "do by hand what it should have done, and mend it"},
    {"HB-journal-damaged", kError, "The journal holds something that was not written so.",
     "stop the programs that write to this group, and restore the segment or begin anew from the "
     "better copy"},
    {"HB-journal-failed", kError, "The journal could not be synced and takes no more updates.",
     "stop the programs that write to this group, mend the disk, start them again"},
    {"HB-journal-limit", kError, "The journal is at its limit, and something needs all of it.",
     "see to what holds it (hotbackup status), or hotbackup forget GROUP NODE, or raise "
     "journal_limit"},
    {"HB-journal-sync-failed", kError,
     "A write or sync of the journal failed; nothing is acknowledged from that segment any more.",
     "look after the disk; the journal goes on in a new segment as soon as it can"},
    {"HB-link-down", kError,
     "Nothing has been heard of a peer for three check periods: nothing is sent or received.",
     "see that the hotbackup servers run there and the network works; hotbackup status GROUP, here "
     "and there. On a slave whose master is gone: hotbackup promote GROUP --dry-run"},
    {"HB-local-unsynced", kError,
     "A commit happened, but the disk failed the sync of its keep-local data.",
     "look after the disk; write the keep-local data again"},
    {"HB-loss-limit", kError,
     "More is exposed than loss_limit allows, or commits are held up by it: slaves do not "
     "acknowledge.",
     "see why the slave is away or slow: hotbackup status GROUP, here and there"},
    {"HB-no-space", kError, "The disk of a copy is full; applying waits.",
     "make room; it goes on by itself"},
    {"HB-nolock-writer", kError,
     "A program writes an environment without LMDB's locks and without the library: it damages "
     "every other program's snapshots, and what it wrote may be lost.",
     "stop it, start it under capture, then seed the slaves anew"},
    {"HB-notify-failed", kWarning,
     "An entry of the notify list cannot be reached; its messages wait and are tried again.",
     "mend what the text names, then try: hotbackup notify-test"},
    {"HB-orphans", kWarning,
     "Updates were made on this node that its new master does not have; they are kept here.",
     "hotbackup orphans GROUP lists them; hotbackup orphans show, apply or drop decides on each"},
    {"HB-peer-key", kError,
     "The node that answers at a peer's address has another key than the one configured: another "
     "machine, or the peer has a new key.",
     "compare with hotbackup identity on the peer; if its key was changed on purpose, write the "
     "new "
     "fingerprint into its [[peer]]"},
    {"HB-pid-namespace", kError,
     "A program in a container with process ids or a boot id of its own, or one that cannot see "
     "/proc/sys, opened an environment of the group: locks do not work across, it may only read.",
     "run it, and the servers, in one pid namespace (docker run --pid=host), a service without "
     "ProcSubset=pid"},
    {"HB-post-restore", kError,
     "The hook post_restore has not succeeded on what was restored here; promote and switch refuse "
     "this node until it has.",
     "mend what the text says, then hotbackup restore --group GROUP --hook; or seed it anew: "
     "hotbackup init GROUP --role slave --replace"},
    {"HB-recovery-failed", kError,
     "After the start of this machine an environment could not be brought level with the journal; "
     "nothing later than its last update is sent.",
     "mend what the text names; it is tried again by itself, and by hotbackup recover GROUP"},
    {"HB-rejoin-asks", kError,
     "This node holds updates that its new master does not have, and rejoin = \"ask\": it waits.",
     "to keep them as orphans and go back: rejoin = \"rewind\" in the configuration, then reload"
     " hotbackup-slave"},
    {"HB-rejoin-stopped", kError, "This node cannot be brought back onto its master's history.",
     "seed anew, the old copies are kept aside: hotbackup init GROUP --role slave --replace"},
    {"HB-replaced", kError,
     "The data file of an environment was replaced: programs that have the old one open go on with "
     "it, and the copies are not of the new one.",
     "restart every program that has the environment open, then seed the slaves anew"},
    {"HB-rpo-passed", kError,
     "More is exposed than the objective allows: losing this machine now loses what is older than "
     "rpo.",
     "see why the slave is away or slow: hotbackup why GROUP, here and there"},
    {"HB-rules-differ", kError,
     "The keep-local rules of two nodes differ, so nothing is sent between them.",
     "make keep_local equal in both configurations and type hotbackup init GROUP --role ROLE again "
     "on both nodes"},
    {"HB-save-failed", kError,
     "A save of [group.saves], a volume, or its verification failed at one place; what proved "
     "damaged is marked invalid and no restore takes it.",
     "mend what the text names; it is tried again by itself. What can be restored: hotbackup saves "
     "GROUP"},
    {"HB-save-one-place", kWarning,
     "Several places are configured, and the newest verified save stands in one of them only.",
     "mend what the text names of the other places; hotbackup saves GROUP --plan says when it is "
     "tried again"},
    {"HB-save-slow", kWarning, "A save with its verification takes longer than its period.",
     "give [group.saves] full a longer period, a faster place, or a cheaper verify"},
    {"HB-save-too-old", kError, "The newest verified save is older than two of its periods.",
     "see why: hotbackup saves GROUP --plan; by hand: hotbackup save GROUP --into DIR, then "
     "hotbackup check DIR --record"},
    {"HB-server-down", kError, "The server of this group does not run.",
     "start it: systemctl start the service that the text names; its log says how it ended"},
    {"HB-slave-ahead", kError,
     "A slave has updates that its master of the same epoch does not have: a machine was rolled "
     "back, or a disk lied.",
     "find out which node has the right data; then on the other: hotbackup init GROUP --role "
     "slave --replace"},
    {"HB-slave-forgotten", kError,
     "The journal reached its limit and a slave was released: it needs a seed.",
     "nothing where it comes back as it was: it is seeded by itself; else on the slave: hotbackup "
     "init GROUP --role slave --replace"},
    {"HB-slave-needs-seed", kError, "The history that a slave needs is not kept any more.",
     "on the slave: hotbackup init GROUP --role slave --replace"},
    {"HB-slot-stuck", kWarning,
     "A commit has not ended for more than a second: nothing later is sent to the slaves.",
     "look at the process that the text names"},
    {"HB-stranger", kWarning,
     "A caller showed no key, an unknown one, or one that is not of the node it says it is; it was "
     "not let in.",
     "if it is a peer: compare its [[peer]] with hotbackup identity there; else see who calls, or "
     "let a firewall keep it away. It goes after an hour without another, or at a reload"},
    {"HB-test-failed", kError, "A test update could not be written through the capture library.",
     "see what the text names; programs under capture may meet the same: hotbackup test GROUP "
     "tries "
     "again"},
    {"HB-test-late", kError,
     "A test update has not come back from a slave in time: what is written now does not get "
     "there, "
     "or nobody can say so.",
     "see the link and the slave: hotbackup status GROUP here and there, then hotbackup test "
     "GROUP"},
    {"HB-test-wrong", kError,
     "A test update has arrived on a slave as something else than what was written.",
     "hotbackup compare GROUP says what else differs; look at what writes to that slave's copies"},
    {"HB-two-masters", kError,
     "Two nodes were promoted to the same epoch: both have closed their gates.",
     "decide which one is to go on, and type there: hotbackup promote GROUP --force"},
    {"HB-unlogged", kError,
     "An environment was written without capture: the copies lack that write.",
     "start every program that writes there under capture, then hotbackup compare GROUP --repair"},
};
static_assert(std::ranges::is_sorted(kCatalogue, {}, &Entry::code));

}  // namespace

std::string_view severity_name(Severity severity) {
  switch (severity) {
    case kNotice:
      return "notice";
    case kWarning:
      return "warning";
    case kError:
      break;
  }
  return "error";
}

std::span<const Entry> catalogue() {
  return kCatalogue;
}

const Entry* find(std::string_view code) {
  const auto at = std::ranges::lower_bound(kCatalogue, code, {}, &Entry::code);
  return at != std::end(kCatalogue) && at->code == code ? &*at : nullptr;
}

std::string action_for(std::string_view code, std::string_view group, std::string_view subject) {
  const Entry* entry = find(code);
  if (entry == nullptr) return {};
  std::string action(entry->action);
  const auto put = [&action](std::string_view word, std::string_view name) {
    for (std::size_t at = 0; !name.empty() && (at = action.find(word, at)) != std::string::npos;) {
      action.replace(at, word.size(), name);
      at += name.size();
    }
  };
  put("GROUP", group);
  put("NODE", subject);
  return action;
}

Severity severity_of(std::string_view code) {
  const Entry* entry = find(code);
  return entry == nullptr ? kError : entry->severity;
}

}  // namespace hotbackup::incident
