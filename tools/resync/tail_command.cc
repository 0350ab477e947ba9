// SPDX-License-Identifier: Apache-2.0
// hotbackup tail: what the journal of a dead master still holds and this slave does not have.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <map>

#include "common/control/group_file.h"
#include "common/journal/reader.h"
#include "common/lmdb/environment.h"
#include "common/lmdb/meta.h"
#include "tools/hotbackup/command_log.h"
#include "tools/hotbackup/log_printer.h"
#include "tools/resync/command.h"
#include "tools/resync/container.h"

namespace hotbackup::resync {
namespace {

struct TailOptions {
  std::string group;
  std::string from;
  bool list = false;
  bool dry_run = false;
};

/// What became of the last update of an environment, whose commit nobody saw end.
struct Fate {
  UpdateNumber number;
  std::string environment;
  enum class Kind { kCommitted, kVoid, kNotKnown } kind = Kind::kNotKnown;
};

/// The journal's directory in what --from names: it, or the group's, or the state's.
std::string journal_in(const std::string& from, const std::string& group) {
  for (const std::string& place :
       {from + "/groups/" + group + "/journal", from + "/journal", from}) {
    std::error_code error;
    if (std::filesystem::is_directory(place, error)) return place;
  }
  return from;
}

class Command {
 public:
  Command(const Session& session, const TailOptions& options)
      : session_(session), options_(options) {}
  Result<int> run();

 private:
  Result<> look();
  Result<> decide(const std::string& group_directory);
  Result<> each(const std::function<Result<>(const journal::FrameView&)>& visit);
  Result<> list();
  Result<> take();
  int report() const;

  const Session& session_;
  const TailOptions& options_;
  std::unique_ptr<cli::OpenGroup> opened_;
  std::unique_ptr<os::Directory> theirs_;
  Position here_;
  UpdateNumber last_;
  struct Last {
    UpdateNumber number;
    TxnId txnid;
    bool no_sync = false;
  };
  std::map<EnvironmentNumber, Last> last_of_;
  std::vector<Fate> fates_;
};

/// Every frame behind what is here, as far as they are whole.
Result<> Command::each(const std::function<Result<>(const journal::FrameView&)>& visit) {
  journal::Reader reader(*theirs_, opened_->group->id());
  if (auto found = reader.seek(here_.number.next()); !found) {
    if (found.error().code() != ErrorCode::kNotFound) return found;
    return fail(ErrorCode::kRefused, "that journal ends before update " +
                                         std::to_string(here_.number.value) +
                                         ", which is here already");
  }
  if (reader.position().chain != here_.chain)
    return fail(ErrorCode::kDiverged,
                "that journal is of another history than this one at update " +
                    std::to_string(here_.number.value));
  for (;;) {
    const UpdateNumber through = last_.value != 0 ? last_ : UpdateNumber(~std::uint64_t{0} - 1);
    const auto frame = reader.next(through);
    // Behind the last whole update anything may lie: nobody was told that it was there.
    if (!frame && frame.error().code() == ErrorCode::kIo) return fail(frame.error());
    if (!frame || !*frame) return {};
    HOTBACKUP_TRY(visit(**frame));
  }
}

Result<> Command::look() {
  UpdateNumber whole;
  HOTBACKUP_TRY(each([&](const journal::FrameView& frame) -> Result<> {
    const journal::FrameHeader& header = frame.header;
    if (!header.last_part) return {};
    whole = header.number;
    if (header.kind == journal::FrameKind::kUpdate && !header.is_void())
      last_of_[header.environment] = {header.number, header.txnid, header.no_sync};
    return {};
  }));
  last_ = whole;
  return {};
}

// An update whose successor in its environment exists has happened: LMDB's numbers follow on. Of
// the last one the environment itself knows, where it can be read.
Result<> Command::decide(const std::string& group_directory) {
  const auto record = control::read_group_file(group_directory);
  for (const auto& [number, last] : last_of_) {
    Fate fate{last.number, "environment " + std::to_string(number.value), {}};
    if (record) {
      for (const auto& environment : record->environments) {
        if (environment.number != number) continue;
        fate.environment = environment.name;
        const auto meta =
            lmdb::peek_meta(lmdb::data_file(environment.path, environment.subdirectory));
        if (meta)
          fate.kind = meta->last_txnid >= last.txnid ? Fate::Kind::kCommitted : Fate::Kind::kVoid;
      }
    }
    // A program that does not sync has less on the disk than it was told.
    if (fate.kind == Fate::Kind::kVoid && last.no_sync) fate.kind = Fate::Kind::kNotKnown;
    if (fate.kind != Fate::Kind::kCommitted) fates_.push_back(fate);
  }
  return {};
}

Result<> Command::list() {
  std::map<EnvironmentNumber, std::string> names;
  for (std::uint32_t n = 1; n <= opened_->group->environment_count(); ++n)
    if (const auto* entry = opened_->group->environment(EnvironmentNumber(n)))
      names[EnvironmentNumber(n)] = entry->name;
  cli::LogPrinter printer(
      session_.json ? cli::LogPrinter::Form::kOneObject : cli::LogPrinter::Form::kText, {},
      [&](EnvironmentNumber number) {
        const auto known = names.find(number);
        const std::string name =
            known != names.end() ? known->second : "environment " + std::to_string(number.value);
        return cli::LogPrinter::Names{name, name};
      });
  printer.begin(opened_->settings->name);
  if (last_.value != 0)
    HOTBACKUP_TRY(each([&](const journal::FrameView& frame) { return printer.frame(frame); }));
  printer.end();
  return {};
}

Result<> Command::take() {
  control::Group& group = *opened_->group;
  if (group.role() != control::Role::kSlave)
    return fail(ErrorCode::kFenced,
                "group " + opened_->settings->name + " is " +
                    std::string(cli::role_name(group.role())) +
                    " here: a tail is taken by a slave, before it is promoted; --list shows it");
  for (std::uint32_t n = 0; n < group.layout().peer_count.load(); ++n)
    if (group.layout().peers[n].link.load() ==
        static_cast<std::uint32_t>(control::LinkState::kStreaming))
      return fail(ErrorCode::kFenced, "the master is connected: it sends its tail itself");
  HOTBACKUP_TRY(cli::log_command(session_, group.directory()));
  HOTBACKUP_TRY(each([&](const journal::FrameView& frame) -> Result<> {
    HOTBACKUP_ASSIGN(auto lock, group.journal().lock());
    if (frame.header.part == 0 && group.made() != frame.header.number.previous())
      return fail(ErrorCode::kBusy, "somebody else appends to the journal");
    const bool is_void =
        frame.header.last_part && std::any_of(fates_.begin(), fates_.end(), [&](const Fate& fate) {
          return fate.kind == Fate::Kind::kVoid && fate.number == frame.header.number;
        });
    if (!is_void) return group.journal().append_received(lock, frame);
    std::string bytes(frame.bytes);
    const std::uint64_t word = journal::void_word_for(frame.header.checksum);
    std::memcpy(bytes.data() + journal::kVoidWordOffset, &word, sizeof word);
    journal::FrameView changed{
        frame.header,
        std::string_view(bytes).substr(journal::kFrameHeaderBytes, frame.header.body_bytes), bytes};
    changed.header.void_word = word;
    return group.journal().append_received(lock, changed);
  }));
  HOTBACKUP_TRY(group.journal().sync_through(group.made()));
  os::futex_notify(group.layout().apply_wake);
  return {};
}

int Command::report() const {
  const std::uint64_t count =
      last_.value > here_.number.value ? last_.value - here_.number.value : 0;
  Json open = Json::array();
  for (const Fate& fate : fates_)
    open.push_back(Json{{"number", fate.number.value},
                        {"environment", fate.environment},
                        {"fate", fate.kind == Fate::Kind::kVoid ? "void" : "not known"}});
  if (session_.json) {
    std::printf("%s\n", Json{{"group", opened_->settings->name},
                             {"from", here_.number.value},
                             {"number", std::max(last_, here_.number).value},
                             {"updates", count},
                             {"open", std::move(open)}}
                            .dump()
                            .c_str());
    return cli::kDone;
  }
  if (count == 0) {
    std::printf("%s  that journal holds nothing that is not here (update %s)\n",
                opened_->settings->name.c_str(), human_count(here_.number.value).c_str());
    return cli::kDone;
  }
  std::printf("%s  took %s updates, %s … %s\n", opened_->settings->name.c_str(),
              human_count(count).c_str(), human_count(here_.number.value + 1).c_str(),
              human_count(last_.value).c_str());
  for (const Fate& fate : fates_)
    std::printf(
        "  update %s of %s: %s\n", human_count(fate.number.value).c_str(), fate.environment.c_str(),
        fate.kind == Fate::Kind::kVoid ? "its commit did not happen there: left out"
                                       : "whether its commit happened cannot be seen: taken");
  return cli::kDone;
}

Result<int> Command::run() {
  HOTBACKUP_ASSIGN(opened_, cli::open_group(session_, options_.group));
  const std::string place = journal_in(options_.from, opened_->settings->name);
  HOTBACKUP_ASSIGN(theirs_, os::open_directory(place, {}));
  control::Group& group = *opened_->group;
  {
    HOTBACKUP_ASSIGN(const auto lock, group.journal().lock());
    const auto& tail = group.layout().tail;
    here_ = {tail.epoch, UpdateNumber(tail.made.load()), tail.chain};
  }
  auto seen = look();
  if (!seen && seen.error().code() != ErrorCode::kRefused) return fail(std::move(seen).error());
  HOTBACKUP_TRY(decide(std::filesystem::path(place).parent_path()));
  if (options_.list) {
    HOTBACKUP_TRY(list());
    return cli::kDone;
  }
  if (last_.value != 0 && !options_.dry_run) HOTBACKUP_TRY(take());
  return report();
}

}  // namespace

void add_tail(CLI::App& app, Session& session) {
  auto* command = app.add_subcommand(
      "tail", "Takes what a dead master's journal still holds and this slave does not have");
  auto options = std::make_shared<TailOptions>();
  command->add_option("GROUP", options->group, "may be left out where there is only one");
  command
      ->add_option("--from", options->from,
                   "the dead master's state, group or journal directory, or a copy of it")
      ->type_name("DIR")
      ->required();
  command->add_flag("--list", options->list, "shows the updates, takes nothing");
  command->add_flag("--dry-run", options->dry_run, "says what would be taken");
  command->callback([&session, options] {
    session.action = [&session, options] { return Command(session, *options).run(); };
  });
}

}  // namespace hotbackup::resync
