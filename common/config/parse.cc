// SPDX-License-Identifier: Apache-2.0
// The schema of the configuration file, table by table, and the rules between its parts.
#include <algorithm>
#include <charconv>
#include <map>
#include <set>

#include "common/config/configuration.h"
#include "common/config/data_path.h"
#include "common/config/read_saves.h"
#include "common/config/table_reader.h"
#include "common/config/vocabulary.h"

namespace hotbackup::config {
namespace {

using Names = std::set<std::string, std::less<>>;

Result<std::string> any_text(std::string_view text) {
  return std::string(text);
}

/// For words that stand for nothing in this version but one of them.
auto one_of_words(std::vector<std::string_view> words) {
  return [words = std::move(words)](std::string_view text) -> Result<std::string> {
    std::string list;
    for (std::string_view word : words) {
      if (word == text) return std::string(text);
      list += (list.empty() ? "'" : ", '") + std::string(word) + "'";
    }
    return fail(ErrorCode::kConfig, in_quotes(text) + " is not one of " + list);
  };
}

auto address_with_port(std::uint16_t default_port) {
  return [default_port](std::string_view text) { return parse_address(text, default_port); };
}

Result<std::string> parse_fingerprint(std::string_view text) {
  constexpr std::string_view kPrefix = "SHA256:";
  constexpr std::string_view kBase64 =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const std::string_view code = text.substr(std::min(kPrefix.size(), text.size()));
  // 43 digits are 258 bits: the last two are not part of the hash and have to be 0.
  if (!text.starts_with(kPrefix) || code.size() != 43 ||
      code.find_first_not_of(kBase64) != code.npos || kBase64.find(code.back()) % 4 != 0) {
    return fail(ErrorCode::kConfig, in_quotes(text) +
                                        " is not a fingerprint: 'SHA256:' and 43 characters, as "
                                        "printed by `hotbackup identity` on that node");
  }
  return std::string(text);
}

Result<std::string> parse_notify_target(std::string_view text) {
  for (std::string_view scheme : {"mailto:", "https://", "http://", "exec:", "file:/", "syslog:"}) {
    if (text.starts_with(scheme) && (text.size() > scheme.size() || scheme == "syslog:")) {
      return std::string(text);
    }
  }
  if (text.starts_with("file:"))
    return fail(ErrorCode::kConfig, in_quotes(text) + " is not an absolute path behind file:");
  return fail(ErrorCode::kConfig,
              in_quotes(text) + " is not a target: mailto:, https://, exec:, file: or syslog:");
}

Result<std::string> parse_url(std::string_view text) {
  if (text.starts_with("https://") || text.starts_with("http://")) return std::string(text);
  return fail(ErrorCode::kConfig, in_quotes(text) + " is not an https:// address");
}

Result<std::string> parse_user(std::string_view text) {
  if (text.find_first_of(":/ \t\n") != text.npos) {
    return fail(ErrorCode::kConfig, in_quotes(text) + " is not the name of a user");
  }
  return std::string(text);
}

struct ApplyWhen {
  Apply apply = Apply::kAtOnce;
  milliseconds delay{0};
};

Result<ApplyWhen> parse_apply(std::string_view text) {
  if (text == "at once") return ApplyWhen{};
  if (text == "paused") return ApplyWhen{Apply::kPaused, {}};
  auto delay = parse_duration(text);
  if (delay) return ApplyWhen{Apply::kAtOnce, *delay};
  return fail(ErrorCode::kConfig,
              in_quotes(text) + " is not \"at once\", \"paused\" or a delay such as \"3 h\"");
}

Result<milliseconds> parse_check_period(std::string_view text) {
  if (text == "off") {
    return fail(ErrorCode::kConfig, "it cannot be off: a dead link would never be noticed");
  }
  HOTBACKUP_ASSIGN(const milliseconds period, parse_duration(text));
  if (period < milliseconds(10) || period > std::chrono::hours(1)) {
    return fail(ErrorCode::kConfig, in_quotes(text) + " is not between 10 ms and 1 h");
  }
  return period;
}

Result<std::uint64_t> parse_segment_size(std::string_view text) {
  HOTBACKUP_ASSIGN(const std::uint64_t bytes, parse_binary_size(text));
  if (bytes < (1 << 20) || bytes > (1 << 30)) {
    return fail(ErrorCode::kConfig, in_quotes(text) + " is not between 1 MB and 1 GB");
  }
  return (bytes + 4095) & ~std::uint64_t{4095};
}

/// %p, %f and %% are all it may hold; without a path or a name it could not do its work.
Result<std::string> parse_archive(std::string_view text) {
  bool takes_segment = text.empty();
  for (std::size_t at = text.find('%'); at != text.npos; at = text.find('%', at + 2)) {
    const char what = at + 1 < text.size() ? text[at + 1] : '\0';
    if (what != 'p' && what != 'f' && what != '%')
      return fail(ErrorCode::kConfig, "'%' stands before p (path), f (file name) or %");
    takes_segment = takes_segment || what != '%';
  }
  if (!takes_segment)
    return fail(ErrorCode::kConfig, "it names no segment: %p is its path, %f its file name");
  return std::string(text);
}

class FileReader {
 public:
  FileReader(std::string_view source, Keys keys) : faults_(source), keys_(keys) {
    configuration_.source = source;
  }

  Result<Configuration> read(const Table& root) {
    TableReader reader(root, "the file", faults_);
    reader.require("node");
    if (const Table* node = reader.table("node")) read_node(*node);
    for (const Table* peer : reader.tables("peer")) read_peer(*peer);
    for (const Table* group : reader.tables("group")) read_group(*group);
    for (const Table* notify : reader.tables("notify")) read_notify(*notify);
    reader.finish();
    if (auto error = faults_.first_error()) return fail(std::move(*error));
    configuration_.warnings = faults_.warnings();
    return std::move(configuration_);
  }

 private:
  struct PlacedPath {
    DataPath path;
    std::size_t group;
  };

  /// Reads the required key `name`, which no other of its kind has.
  void read_name(TableReader& reader, std::string& name, Names& used) {
    reader.require("name");
    if (reader.read("name", name, parse_name) && !used.insert(name).second) {
      reader.refuse("name", reader.at("name"), "the name " + in_quotes(name) + " is used twice");
    }
  }

  void read_node(const Table& table) {
    TableReader reader(table, "[node]", faults_);
    Node& node = configuration_.node;
    read_name(reader, node.name, node_names_);
    reader.read("state", node.state, parse_absolute_path);
    if (node.state == "/") reader.refuse("state", reader.at("state"), "'/' is not a place for it");
    reader.read("listen", node.listen, address_with_port(2000));
    reader.read_or_off("status", node.status, address_with_port(2080));
    reader.read_or_off("smtp", node.smtp, address_with_port(25));
    reader.read_or_off("heartbeat_url", node.heartbeat_url, parse_url);
    reader.finish();
  }

  void read_peer(const Table& table) {
    TableReader reader(table, "[[peer]]", faults_);
    Peer peer;
    read_name(reader, peer.name, node_names_);
    bool loopback = true;
    reader.read_list("address", address_with_port(2000), [&](Address address, Mark at) {
      if (std::count(peer.addresses.begin(), peer.addresses.end(), address) != 0) {
        reader.refuse("address", at, in_quotes(to_text(address)) + " stands there twice");
      }
      loopback = loopback && is_loopback(address);
      peer.addresses.push_back(std::move(address));
    });
    // A peer without an address can only dial here.
    const Address& listen = configuration_.node.listen;
    if (peer.addresses.empty())
      loopback = is_loopback(listen) || listen.host == "0.0.0.0" || listen.host == "::";
    read_fingerprints(reader, table, peer);
    if (keys_ == Keys::kKnown && !loopback && table.find("fingerprint") == nullptr) {
      faults_.refuse(table.at,
                     "[[peer]] has no 'fingerprint': only a peer on a loopback address may leave "
                     "it out");
    }
    reader.read_or_off("rate", peer.rate_bytes_per_second, parse_rate);
    reader.finish();
    configuration_.peers.push_back(std::move(peer));
  }

  /// One, or an array while that node's key changes.
  void read_fingerprints(TableReader& reader, const Table& table, Peer& peer) {
    const auto add = [&](std::string fingerprint, Mark at) {
      if (!fingerprints_.insert(fingerprint).second)
        reader.refuse("fingerprint", at, "it stands there twice, or another peer has the same one");
      peer.fingerprints.push_back(std::move(fingerprint));
    };
    const auto* entry = table.find("fingerprint");
    if (entry != nullptr && std::holds_alternative<Array>(entry->value.data)) {
      reader.read_list("fingerprint", parse_fingerprint, add);
      if (std::get<Array>(entry->value.data).empty())
        reader.refuse("fingerprint", entry->value.at, "it is empty");
      return;
    }
    std::string fingerprint;
    if (reader.read("fingerprint", fingerprint, parse_fingerprint))
      add(std::move(fingerprint), reader.at("fingerprint"));
  }

  void read_notify(const Table& table) {
    TableReader reader(table, "[[notify]]", faults_);
    Notify notify;
    reader.require("to");
    reader.read("to", notify.to, parse_notify_target);
    reader.read("from", notify.from, one_of(kSeverities));
    std::vector<std::string> groups;
    const bool set = reader.read_list("groups", any_text, [&](std::string group, Mark at) {
      if (group != "*" && !group_names_.contains(group)) {
        faults_.warn(at, "'groups' in [[notify]]: there is no group " + in_quotes(group));
      }
      groups.push_back(std::move(group));
    });
    if (set) notify.groups = std::move(groups);
    reader.finish();
    configuration_.notify.push_back(std::move(notify));
  }

  void read_group(const Table& table) {
    TableReader reader(table, "[[group]]", faults_);
    Group group;
    read_name(reader, group.name, group_names_);
    read_group_peers(reader, group);
    reader.read("user", group.user, parse_user);
    reader.read("mode", group.mode, parse_mode);
    read_promises(reader, group);
    read_periods_and_limits(reader, group);
    read_loss_limit(reader, group);
    read_reports(reader, group);
    if (const Table* saves = reader.table("saves")) read_saves(*saves, group, faults_);
    Names environment_names;
    for (const Table* environment : reader.tables("env")) {
      read_environment(*environment, group, environment_names);
    }
    reader.finish();
    configuration_.groups.push_back(std::move(group));
  }

  void read_group_peers(TableReader& reader, Group& group) {
    reader.read_list("peers", any_text, [&](std::string name, Mark at) {
      if (name == configuration_.node.name) {
        reader.refuse("peers", at, in_quotes(name) + " is this node");
      } else if (!node_names_.contains(name)) {
        reader.refuse("peers", at, "no [[peer]] is called " + in_quotes(name));
      } else if (std::count(group.peers.begin(), group.peers.end(), name) != 0) {
        reader.refuse("peers", at, in_quotes(name) + " stands there twice");
      }
      group.peers.push_back(std::move(name));
    });
  }

  /// What would protect data, if it were there: refused rather than ignored.
  void read_promises(TableReader& reader, Group& group) {
    reader.read_or_off("lease", group.lease, parse_duration);
    const std::pair<std::string_view, std::string*> hooks[] = {
        {"before_promote", &group.before_promote},
        {"on_promote", &group.on_promote},
        {"on_demote", &group.on_demote},
        {"post_restore", &group.post_restore},
        {"drill", &group.drill}};
    for (const auto& [key, command] : hooks)
      if (const std::string* text = reader.string(key); text != nullptr && *text != "off")
        *command = *text;
    reader.read("rejoin", group.rejoin, one_of(kRejoin));
    ApplyWhen when;
    if (reader.read("apply", when, parse_apply)) {
      group.apply = when.apply;
      group.apply_delay = when.delay;
    }
  }

  void read_periods_and_limits(TableReader& reader, Group& group) {
    reader.read("check_period", group.check_period, parse_check_period);
    reader.read_or_off("keep_journal", group.keep_journal, parse_duration);
    reader.read("segment_size", group.segment_bytes, parse_segment_size);
    reader.read_or_off("boot_wait", group.boot_wait, parse_duration);
    reader.read_or_off("test_period", group.test_period, parse_duration);
    read_journal_limit(reader, group);
    reader.read_list("files", parse_absolute_path,
                     [&](std::string file, Mark) { group.files.push_back(std::move(file)); });
    reader.read_or_off("rpo", group.rpo, parse_duration);
    reader.read_or_off("rto", group.rto, parse_duration);
  }

  void read_loss_limit(TableReader& reader, Group& group) {
    const bool limited = reader.read_or_off("loss_limit", group.loss_limit, parse_loss_limit) &&
                         group.loss_limit.has_value();
    reader.read("at_limit", group.at_limit, one_of(kAtLimit));
    reader.read_or_off("wait_max", group.wait_max, parse_duration);
    reader.read("wait_for", group.wait_for, one_of(kWaitFor));
    if (group.wait_for == WaitFor::kApplied && group.apply_delay.count() != 0)
      reader.refuse("wait_for", reader.at("wait_for"),
                    "it would wait for the delay of 'apply', " + to_text(group.apply_delay));
    read_acknowledge(reader, group);
    if (limited && group.peers.empty()) {
      reader.faults().warn(reader.at("loss_limit"),
                           "'loss_limit' in [[group]]: without peers nothing is acknowledged");
    }
  }

  void read_journal_limit(TableReader& reader, Group& group) {
    group.journal_limit_set =
        reader.read_or_off("journal_limit", group.journal_limit_bytes, parse_size);
    // One that is written and one that is kept.
    if (group.journal_limit_bytes && *group.journal_limit_bytes < 2 * group.segment_bytes) {
      reader.refuse("journal_limit", reader.at("journal_limit"),
                    "it is less than two segments, " + size_to_text(2 * group.segment_bytes));
    }
    reader.read("at_journal_limit", group.at_journal_limit, one_of(kAtJournalLimit));
    if (const std::string* text = reader.string("archive"); text != nullptr && *text != "off") {
      if (const auto command = parse_archive(*text)) {
        group.archive = *command;
      } else {
        reader.refuse("archive", reader.at("archive"), command.error().text());
      }
    }
  }

  /// "any", "all", or how many, as a number or in quotes.
  void read_acknowledge(TableReader& reader, Group& group) {
    const Value* value = reader.take("acknowledge");
    if (value == nullptr) return;
    using Kind = Acknowledge::Kind;
    std::int64_t count = 0;
    if (const auto* number = std::get_if<std::int64_t>(&value->data)) {
      count = *number;
    } else if (const auto* text = std::get_if<std::string>(&value->data)) {
      if (*text == "any" || *text == "all") {
        group.acknowledge.kind = *text == "any" ? Kind::kAny : Kind::kAll;
        return;
      }
      const char* end = text->data() + text->size();
      auto [rest, error] = std::from_chars(text->data(), end, count);
      if (error != std::errc{} || rest != end) count = 0;
    }
    if (count < 1 || count > 1000) {
      reader.refuse("acknowledge", value->at, "it has to be \"any\", \"all\" or a number from 1");
    } else if (static_cast<std::size_t>(count) > group.peers.size()) {
      reader.refuse("acknowledge", value->at, "it is more than the group has peers");
    }
    group.acknowledge = {Kind::kCount,
                         static_cast<std::uint32_t>(std::clamp<std::int64_t>(count, 1, 1000))};
  }

  void read_reports(TableReader& reader, Group& group) {
    const Table* reports = reader.table("reports");
    if (reports == nullptr) return;
    TableReader entries(*reports, "[group.reports]", faults_);
    for (const Entry& entry : reports->entries) {
      if (const auto name = parse_name(entry.key); !name) {
        faults_.refuse(entry.at, "[group.reports]: " + name.error().text());
      }
      entries.read(entry.key, group.reports[entry.key], any_text);
    }
  }

  void read_environment(const Table& table, Group& group, Names& names) {
    TableReader reader(table, "[[group.env]]", faults_);
    Environment environment;
    read_name(reader, environment.name, names);
    if (environment.name == "hotbackup-test")  // control::kTestEnvironment
      reader.refuse("name", reader.at("name"), "this name is hotbackup's own");
    DataPath path;
    if (reader.read("path", path, parse_data_path)) {
      environment.path = path.text;
      add_path(reader, std::move(path));
    }
    reader.promise("capture", {"library"}, one_of_words({"library", "snapshot", "auto"}));
    const std::string* durability = reader.string("durability");
    reader.promise("durability", {"plain"}, one_of_words({"plain", "journal"}));
    read_keep_local(reader, group, environment);
    // What is in no journal cannot be brought back from one.
    if (durability != nullptr && *durability == "journal" && !environment.keep_local.empty())
      reader.refuse("keep_local", reader.at("keep_local"),
                    "it does not go together with durability = \"journal\"");
    reader.finish();
    for (const Environment& other : group.environments) {
      if (makes_name(environment, other.name) || makes_name(other, environment.name)) {
        reader.refuse("name", reader.at("name"),
                      in_quotes(environment.name) + " and " + in_quotes(other.name) +
                          " collide: files of a pattern are named NAME-1, NAME-2 …");
      }
    }
    group.environments.push_back(std::move(environment));
  }

  void read_keep_local(TableReader& reader, const Group& group, Environment& environment) {
    std::vector<std::string> texts;
    std::vector<std::pair<update::KeepLocalRule, Mark>> rules;
    reader.read_list("keep_local", update::KeepLocalRule::parse,
                     [&](update::KeepLocalRule rule, Mark at) {
                       texts.push_back(rule.text());
                       rules.emplace_back(std::move(rule), at);
                     });
    for (std::size_t i = 0; i < rules.size(); ++i) {
      for (std::size_t other = 0; other < rules.size(); ++other) {
        if (other == i || !rules[other].first.covers(rules[i].first)) continue;
        if (rules[other].first == rules[i].first) {
          if (other < i)
            reader.refuse("keep_local", rules[i].second,
                          in_quotes(texts[i]) + " stands here twice");
          continue;
        }
        faults_.warn(rules[i].second, "keep_local: " + in_quotes(texts[i]) + " adds nothing to " +
                                          in_quotes(texts[other]));
      }
    }
    auto parsed = update::KeepLocalRules::parse(texts);
    if (parsed) environment.keep_local = std::move(*parsed);
    const std::size_t bytes = environment.keep_local.text_bytes();
    std::size_t group_bytes = bytes;
    for (const Environment& other : group.environments)
      group_bytes += other.keep_local.text_bytes();
    if (bytes > update::kKeepLocalBytesMax || group_bytes > update::kKeepLocalGroupBytesMax)
      reader.refuse("keep_local", reader.at("keep_local"),
                    "the rules are too long: at most " +
                        std::to_string(update::kKeepLocalBytesMax) + " bytes in one environment, " +
                        std::to_string(update::kKeepLocalGroupBytesMax) + " in one group");
  }

  void add_path(TableReader& reader, DataPath path) {
    const std::size_t group = configuration_.groups.size();
    for (const PlacedPath& other : paths_) {
      if (const auto why = conflict(other.path, path, other.group == group)) {
        reader.refuse("path", reader.at("path"), *why);
      }
    }
    paths_.push_back({std::move(path), group});
  }

  /// Whether a file of `pattern` could come to be called `name`.
  static bool makes_name(const Environment& pattern, std::string_view name) {
    if (!pattern.is_pattern() || !name.starts_with(pattern.name + "-")) return false;
    name.remove_prefix(pattern.name.size() + 1);
    return !name.empty() && name.find_first_not_of("0123456789") == name.npos;
  }

  Faults faults_;
  const Keys keys_;
  Configuration configuration_;
  Names node_names_;  // this node and its peers
  Names fingerprints_;
  Names group_names_;
  std::vector<PlacedPath> paths_;
};

}  // namespace

Result<Configuration> parse(std::string_view text, std::string_view source, Keys keys) {
  HOTBACKUP_ASSIGN(const Table root, parse_document(text, source));
  return FileReader(source, keys).read(root);
}

}  // namespace hotbackup::config
