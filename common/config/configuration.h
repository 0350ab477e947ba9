// SPDX-License-Identifier: Apache-2.0
// The configuration file as plain options: what INTERFACE calls "Configuration", checked as a
// whole. A value of these types came through every rule of the file; nothing has to be checked
// again. A promise this version cannot keep (a lease, hooks …) is refused when it is
// read, and so has no member here.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/error.h"
#include "common/config/quantity.h"
#include "common/update/keep_local.h"

namespace hotbackup::config {

using std::chrono::milliseconds;

/// Where something stands in the file, counted from 1; columns in characters.
struct Mark {
  std::uint32_t line = 1;
  std::uint32_t column = 1;
  auto operator<=>(const Mark&) const = default;
};

enum class Severity { kNotice, kWarning, kError };
enum class AtLimit { kAlarm, kWait, kRefuse };
enum class WaitFor { kJournaled, kApplied };
enum class Apply { kAtOnce, kPaused };
enum class Rejoin { kAsk, kRewind, kRewindOrSeed };
enum class AtJournalLimit { kForgetSlave, kRefuse, kAlarm };

struct Node {
  std::string name;
  std::string state = "/var/lib/hotbackup";  // absolute, without a trailing slash
  Address listen{"0.0.0.0", 2000};

  std::optional<Address> status = Address{"127.0.0.1", 2080};  // page, metrics, health
  std::optional<Address> smtp = Address{"localhost", 25};      // for mailto: in the notify list

  // No effect yet.
  std::optional<std::string> heartbeat_url;
};

/// One entry of the notify list.
struct Notify {
  std::string to;  // with its scheme: mailto:, https://, http://, exec:, file: or syslog:
  Severity from = Severity::kWarning;
  std::vector<std::string> groups = {"*"};
};

struct Peer {
  std::string name;
  std::vector<Address> addresses;  // tried in order; none: this node cannot dial it
  /// "SHA256:…": any of them is that node's key, for as long as one follows another. None: plain
  /// TCP, between loopback addresses only.
  std::vector<std::string> fingerprints;
  std::optional<std::uint64_t> rate_bytes_per_second;  // of seeds
};

struct Environment {
  std::string name;
  /// Absolute: a directory, a file, or a pattern with one '*' in its last component. Empty on a
  /// slave that keeps its copy under <state>/groups/<group>/copies/<env>.
  std::string path;
  /// What belongs to this site: never sent, never overwritten.
  update::KeepLocalRules keep_local;

  bool is_pattern() const { return path.find('*') != std::string::npos; }
};

/// With several slaves, how many have to acknowledge.
struct Acknowledge {
  enum class Kind { kAny, kAll, kCount };
  Kind kind = Kind::kAny;
  std::uint32_t count = 0;  // of kCount
  bool operator==(const Acknowledge&) const = default;
};

enum class Verify { kRead, kRestore, kApp };

/// Saves that are made by themselves; each node does what its own file says, whatever its role.
struct Saves {
  Schedule full;
  std::optional<milliseconds> differential;
  std::vector<std::string> into;  // absolute directories
  std::optional<milliseconds> keep;
  Verify verify = Verify::kRestore;
  std::string filter;    // shell commands, or empty: what saves go through,
  std::string unfilter;  // and what brings them back for their verification

  bool any() const { return full.kind != Schedule::Kind::kOff || differential; }
};

struct Group {
  std::string name;
  std::vector<std::string> peers;  // names of peers, each once
  std::string user;                // empty: files belong to whoever writes first
  std::uint32_t mode = 0660;
  milliseconds check_period = std::chrono::seconds(2);
  std::optional<milliseconds> keep_journal = std::chrono::hours(24);
  std::uint64_t segment_bytes = 32 << 20;    // a multiple of 4096
  Apply apply = Apply::kAtOnce;              // until the first pause or resume
  std::chrono::milliseconds apply_delay{0};  // since its commit on the master
  std::optional<std::uint64_t> journal_limit_bytes = 50'000'000'000;
  bool journal_limit_set = false;  // else at most half the free space
  AtJournalLimit at_journal_limit = AtJournalLimit::kForgetSlave;
  std::string archive;  // a shell command with %p and %f, or empty
  std::vector<Environment> environments;

  std::optional<LossLimit> loss_limit =
      LossLimit{.kind = LossLimit::Kind::kTime, .time = std::chrono::seconds(10)};
  AtLimit at_limit = AtLimit::kAlarm;
  std::optional<milliseconds> wait_max = std::chrono::seconds(5);  // nothing: for ever
  WaitFor wait_for = WaitFor::kJournaled;
  Acknowledge acknowledge;

  std::optional<milliseconds> boot_wait = std::chrono::seconds(10);
  std::optional<milliseconds> lease;
  std::string before_promote;  // shell commands, or empty
  std::string on_promote;
  std::string on_demote;
  std::string post_restore;
  std::string drill;
  Saves saves;
  Rejoin rejoin = Rejoin::kRewind;

  std::optional<milliseconds> rpo;  // objectives: the incident HB-rpo-passed, `report`
  std::optional<milliseconds> rto;

  // No effect yet.
  std::optional<milliseconds> test_period = std::chrono::seconds(30);
  std::vector<std::string> files;
  std::map<std::string, std::string> reports;  // name to command
};

struct Configuration {
  Node node;
  std::vector<Notify> notify;
  std::vector<Peer> peers;
  std::vector<Group> groups;
  std::vector<std::string> warnings;  // one line each, "FILE:LINE:COLUMN: …"
  std::string source;                 // the file's name, for messages
};

/// $HOTBACKUP_CONFIG, or /etc/hotbackup/hotbackup.toml.
std::string default_path();

/// Reads and checks the file. Every error is kConfig, one line, "FILE:LINE:COLUMN: …" where a place
/// in the file is to blame: the first one in the file.
/// kBeforePairing: a peer elsewhere may still be without its fingerprint.
enum class Keys { kKnown, kBeforePairing };
Result<Configuration> load(const std::string& path, Keys keys = Keys::kKnown);
Result<Configuration> parse(std::string_view text, std::string_view source,
                            Keys keys = Keys::kKnown);

/// The group of this name; an empty name stands for the only one. Borrowed from `configuration`.
Result<const Group*> find_group(const Configuration& configuration, std::string_view name);
/// The peer of this name, or null.
const Peer* find_peer(const Configuration& configuration, std::string_view name);

struct Owner {
  uid_t uid = 0;
  gid_t gid = 0;
};
/// The group's `user` and their login group; nothing where it is not set, kConfig if there is no
/// such user. Asks the system's user database and may block.
Result<std::optional<Owner>> resolve_owner(const Group& group);

/// What is in force, defaults included, in the words of the file.
nlohmann::ordered_json to_json(const Configuration& configuration);
/// The same as a file that parses to the same configuration.
std::string describe(const Configuration& configuration);

}  // namespace hotbackup::config
