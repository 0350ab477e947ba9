// SPDX-License-Identifier: Apache-2.0
#include "tools/compare/snapshots.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <thread>
#include <utility>

#include "common/control/apply_decisions.h"
#include "common/os/process.h"
#include "slave/applier.h"
#include "slave/record_file.h"

namespace hotbackup::compare {
namespace {

using control::ApplyState;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kHoldStep{5000};     // applying goes on by itself so long after this died
constexpr milliseconds kHoldLimit{10'000};  // a batch that is being applied ends first
constexpr milliseconds kPauseStep{2000};
constexpr milliseconds kRenewed{300};
constexpr milliseconds kSliceLimit{500};
constexpr milliseconds kCutLimit{10'000};
constexpr milliseconds kRepairLimit{100'000};

/// Sleeps until `condition` or the limit.
template <class Condition>
bool wait_for(control::Group& group, milliseconds limit, Condition condition) {
  const auto end = steady_clock::now() + limit;
  const std::atomic<std::uint32_t>& word = group.layout().acknowledged_wake;
  for (;;) {
    const std::uint32_t ticket = word.load();
    if (condition()) return true;
    if (steady_clock::now() >= end) return false;
    os::futex_wait(word, ticket, milliseconds(20));
  }
}

}  // namespace

struct Snapshots::Repair {
  slave::RecordFile file;
};

Result<> Snapshots::may_hold() {
  const std::string node(group_.layout().node_name);
  const std::string name(group_.layout().group_name);
  if (group_.role() != control::Role::kSlave)
    return fail(ErrorCode::kFenced, node + " is not a slave of " + name);
  if (!group_.server_alive(control::Group::Server::kSlave))
    return fail(ErrorCode::kFenced,
                "no hotbackup-slave serves " + name + " on " + node + ": start it");
  if (const std::string held = control::held_back(group_); !held.empty())
    return fail(ErrorCode::kFenced, held + ": its copy cannot be compared with the master's now" +
                                        (group_.layout().apply_delay_ms.load() == 0
                                             ? ". Type hotbackup resume " + name + " there"
                                             : ""));
  const auto state = static_cast<ApplyState>(group_.layout().apply_state.load());
  if (state == ApplyState::kStopped)
    return fail(ErrorCode::kFenced,
                "applying has stopped on " + node + ": type hotbackup retry " + name + " there");
  if (group_.made().value == 0)
    return fail(ErrorCode::kFenced, node + " has no copy of " + name + " yet");
  return {};
}

void Snapshots::renew() {
  const auto length = std::chrono::duration_cast<std::chrono::nanoseconds>(kHoldStep);
  group_.layout().hold.until_ns.store(os::boottime_ns() + length.count());
}

void Snapshots::ask_to_hold(UpdateNumber number) {
  control::HoldState& hold = group_.layout().hold;
  number_ = number;
  hold.number.store(number.value);
  renew();
  hold.request.fetch_add(1);
  os::futex_notify(group_.layout().apply_wake);
}

Result<UpdateNumber> Snapshots::hold() {
  release();
  HOTBACKUP_TRY(may_hold());
  const std::string path = group_.directory() + "/comparing.lock";
  lock_ = os::UniqueFd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640));
  if (!lock_) return fail_errno("opening " + path);
  if (::flock(lock_.get(), LOCK_EX | LOCK_NB) != 0) {
    lock_.reset();
    return fail(ErrorCode::kBusy, "another comparison is running");
  }
  ask_to_hold(UpdateNumber(0));
  control::HoldState& hold = group_.layout().hold;
  const std::uint32_t request = hold.request.load();
  if (!wait_for(group_, kHoldLimit, [&] {
        renew();
        return hold.answered.load() == request;
      })) {
    release();
    return fail(ErrorCode::kTimeout,
                "the applier on " + std::string(group_.layout().node_name) +
                    " does not stand still: a program may hold a write transaction in a copy");
  }
  return UpdateNumber(group_.layout().applied.load());
}

Result<UpdateNumber> Snapshots::cut(bool pause) {
  release();
  if (group_.role() != control::Role::kMaster)
    return fail(ErrorCode::kFenced, std::string(group_.layout().node_name) + " is not master of " +
                                        group_.layout().group_name);
  if (pause) {
    HOTBACKUP_TRY(group_.pause_gate(kPauseStep, /*first=*/true));
    paused_ = true;
    keep_holding();
  }
  auto source = master::FetchSource::cut(group_, kCutLimit);
  if (!source) {
    release();
    return fail(std::move(source).error());
  }
  source_ = std::move(*source);
  environments_ = source_->environments();
  number_ = source_->position().number;
  return number_;
}

Result<bool> Snapshots::reach(UpdateNumber number, bool keep) {
  if (!lock_) return fail(ErrorCode::kProtocol, "the applier is not held");
  HOTBACKUP_TRY(may_hold());
  if (number_ != number) ask_to_hold(number);
  renew();
  control::HoldState& hold = group_.layout().hold;
  const std::uint32_t request = hold.request.load();
  const bool there = wait_for(group_, kSliceLimit, [&] { return hold.answered.load() == request; });
  if (!there) return false;
  HOTBACKUP_TRY(begin_all());
  // It stood there all the while: nothing but its own time lets it go on.
  const bool held = hold.until_ns.load() > os::boottime_ns();
  if (!held || group_.layout().applied.load() != number.value) {
    release();
    return fail(ErrorCode::kTimeout, "the snapshots took too long to begin");
  }
  if (keep) keep_holding();
  if (!keep) {
    hold.until_ns.store(0);
    os::futex_notify(group_.layout().apply_wake);
    lock_.reset();
  }
  return true;
}

// Whoever is held goes on by itself when this process dies.
void Snapshots::keep_holding() {
  keeper_ = std::jthread([this](const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      if (paused_)
        (void)group_.pause_gate(kPauseStep, /*first=*/false);
      else
        renew();
      std::this_thread::sleep_for(kRenewed);
    }
  });
}

// A transaction that was open when the gate closed may have committed since.
bool Snapshots::still_held() {
  const std::int64_t now = os::boottime_ns();
  if (paused_) return group_.layout().roles.gate_until_ns.load() > now && group_.made() == number_;
  return lock_ && group_.layout().hold.until_ns.load() > now &&
         group_.layout().applied.load() == number_.value;
}

Result<> Snapshots::begin_all() {
  for (std::uint32_t n = 1; n <= group_.environment_count(); ++n) {
    const auto* entry = group_.environment(EnvironmentNumber(n));
    if (entry == nullptr) continue;
    lmdb::OpenOptions options;
    options.path = entry->path;
    options.subdirectory = entry->subdirectory != 0;
    options.read_only = true;
    struct stat status {};
    if (::stat(lmdb::data_file(options.path, options.subdirectory).c_str(), &status) != 0 &&
        errno == ENOENT)
      continue;  // all that is in it is missing
    HOTBACKUP_ASSIGN(auto environment, lmdb::Environment::open(options));
    auto one =
        std::make_unique<master::CutEnvironment>(EnvironmentNumber(n), std::move(environment));
    HOTBACKUP_ASSIGN(one->rules, group_.keep_local(entry->configured));
    HOTBACKUP_TRY(one->begin());
    environments_.push_back(one.get());
    own_.push_back(std::move(one));
  }
  return {};
}

Result<> Snapshots::collect(EnvironmentNumber environment, std::string_view body) {
  if (!lock_) return fail(ErrorCode::kProtocol, "the applier is not held");
  renew();
  if (repair_ == nullptr) {
    HOTBACKUP_ASSIGN(auto file,
                     slave::RecordFile::create(slave::repair_path(group_), group_.permissions()));
    repair_ = std::make_shared<Repair>(Repair{std::move(file)});
  }
  return repair_->file.append(environment, body);
}

Result<> Snapshots::repair() {
  if (!lock_ || repair_ == nullptr) return fail(ErrorCode::kProtocol, "there is nothing to repair");
  HOTBACKUP_TRY(repair_->file.sync());
  control::HoldState& hold = group_.layout().hold;
  hold.repair_bytes.store(repair_->file.offset());
  const std::uint32_t request = hold.repair_request.fetch_add(1) + 1;
  os::futex_notify(group_.layout().apply_wake);
  const bool answered = wait_for(group_, kRepairLimit, [&] {
    renew();
    return hold.repair_answered.load() == request;
  });
  repair_.reset();
  ::unlink(slave::repair_path(group_).c_str());
  if (!answered) return fail(ErrorCode::kTimeout, "the applier does not put the repair in");
  if (hold.repair_failed.load() == 0) return {};
  const std::string why_path = slave::repair_path(group_) + slave::kRepairFailed;
  std::string why;
  std::getline(std::ifstream(why_path), why);
  ::unlink(why_path.c_str());
  return fail(ErrorCode::kIo, "the repair could not be put into the copies" +
                                  (why.empty() ? "" : ": " + why) + ": see hotbackup status there");
}

void Snapshots::release() {
  keeper_ = {};
  if (std::exchange(paused_, false)) group_.open_gate();
  environments_.clear();
  own_.clear();
  source_.reset();
  if (repair_ != nullptr) ::unlink(slave::repair_path(group_).c_str());
  repair_.reset();
  if (!lock_) return;
  group_.layout().hold.until_ns.store(0);
  os::futex_notify(group_.layout().apply_wake);
  lock_.reset();
  number_ = UpdateNumber(0);
}

}  // namespace hotbackup::compare
