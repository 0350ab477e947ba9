// SPDX-License-Identifier: Apache-2.0
#include "common/roles/switch_over.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <random>
#include <thread>

#include "common/lmdb/environment.h"
#include "common/roles/loss.h"

namespace hotbackup::roles {
namespace {

using control::Role;
using Clock = std::chrono::steady_clock;
using Kind = wire::Ask::Kind;
using std::chrono::milliseconds;

constexpr milliseconds kAskLimit{5000};
constexpr milliseconds kHookLimit{35'000};
constexpr milliseconds kTakeOverLimit{60'000};
constexpr milliseconds kDrainLimit{30'000};  // while writers go on
constexpr milliseconds kPauseLimit{10'000};  // while they wait
constexpr milliseconds kPauseStep{2000};     // the gate opens by itself so long after this died
constexpr milliseconds kAskAgain{10'000};
constexpr std::uint64_t kHashedMax = 4096;  // updates whose published hash is compared

double ms_since(Clock::time_point begun) {
  return std::chrono::duration<double, std::milli>(Clock::now() - begun).count();
}

/// Waits for the transactions that began before the gate was closed: begins and aborts one in each
/// environment, never holding two. On a thread of its own that may outlive who waits for it: LMDB's
/// writer lock cannot be waited for with a limit.
class Barrier {
 public:
  static Result<std::shared_ptr<Barrier>> open(control::Group& group) {
    auto barrier = std::make_shared<Barrier>();
    for (std::uint32_t n = 1; n <= group.environment_count(); ++n) {
      const control::EnvironmentEntry* entry = group.environment(EnvironmentNumber(n));
      if (entry == nullptr) continue;
      lmdb::OpenOptions options;
      options.path = entry->path;
      options.subdirectory = entry->subdirectory != 0;
      auto environment = lmdb::Environment::open(options);
      if (!environment && environment.error().code() == ErrorCode::kNotFound) continue;
      if (!environment) return fail(std::move(environment).error());
      barrier->environments_.push_back(std::move(*environment));
    }
    return barrier;
  }

  /// Starts a round.
  static void start(const std::shared_ptr<Barrier>& barrier) {
    barrier->finished_ = false;
    std::thread([barrier] {
      Result<> done;
      for (lmdb::Environment& environment : barrier->environments_)
        if (auto txn = lmdb::Transaction::begin(environment, /*read_only=*/false); !txn && done)
          done = fail(txn.error());
      const std::lock_guard guard(barrier->mutex_);
      barrier->finished_ = true;
      barrier->done_ = std::move(done);
      barrier->changed_.notify_all();
    }).detach();
  }

  /// Nothing: not yet.
  std::optional<Result<>> wait_for(milliseconds length) {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, length, [this] { return finished_; })) return std::nullopt;
    return done_;
  }

 private:
  std::vector<lmdb::Environment> environments_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool finished_ = false;
  Result<> done_;
};

class Switch {
 public:
  Switch(const Here& here, std::string to, bool compare)
      : here_(here), group_(here.group), to_(std::move(to)), compare_(compare) {}

  Result<Switched> run() {
    HOTBACKUP_TRY(prepare());
    closed_at_ = Clock::now();
    HOTBACKUP_TRY(group_.pause_gate(kPauseStep, /*first=*/true));
    auto closed = hand_over();
    group_.open_gate();
    if (!closed) return fail(std::move(closed).error());
    if (auto ran = run_hook(here_, here_.settings.on_demote, "slave", done_.epoch, to_); !ran)
      done_.needs_you +=
          (done_.needs_you.empty() ? "" : "; ") + ("on_demote: " + ran.error().text());
    if (!here_.settings.on_demote.empty()) steps_.done("on_demote");
    done_.steps = steps_.all();
    (void)keep(here_, {"switch", done_.epoch, done_.number, {"nothing", 0}, "", done_.steps});
    return done_;
  }

 private:
  Result<> prepare();
  Result<> drain(UpdateNumber through, milliseconds limit, bool closed);
  Result<> hand_over();
  Result<> wait_for_writers();
  Result<> compare_histories();
  Result<> take_over(const Epoch& before);
  Result<> settle_unknown(const wire::Ask& ask, const Epoch& before, const Error& why);
  Result<> extend();
  control::PeerEntry* peer() { return group_.peer(to_); }

  const Here here_;
  control::Group& group_;
  const std::string to_;
  const bool compare_;
  std::unique_ptr<Change> change_;
  std::unique_ptr<PeerLink> link_;
  std::shared_ptr<Barrier> barrier_;
  wire::Answer target_;
  Clock::time_point closed_at_;
  Clock::time_point extended_at_;
  std::uint64_t content_ = 0;
  Steps steps_;
  Switched done_;
};

Result<> Switch::prepare() {
  const std::string& name = here_.settings.name;
  if (group_.role() != Role::kMaster)
    return fail(ErrorCode::kFenced, here_.node() + " is not master of " + name);
  HOTBACKUP_ASSIGN(change_, Change::begin(here_));
  if (!group_.server_alive(control::Group::Server::kMaster))
    return fail(ErrorCode::kFenced, "hotbackup-master does not run on " + here_.node() +
                                        ", which has to send what is left: start it");
  if (compare_)
    if (const auto rules = group_.keep_local(); !rules || !rules->empty())
      return fail(ErrorCode::kFenced,
                  "--compare does not go together with keep_local: leave it out");
  auto link = PeerLink::open(here_, to_, kAskLimit);
  if (!link)
    return fail(ErrorCode::kFenced, to_ + " cannot be reached: " + link.error().text() +
                                        ". See that hotbackup-slave runs there, then type "
                                        "hotbackup status " +
                                        name);
  link_ = std::move(*link);
  wire::Ask ask;
  ask.kind = Kind::kPrepare;
  HOTBACKUP_ASSIGN(target_, link_->ask(ask, kHookLimit));
  if (target_.exit != 0) return fail(ErrorCode::kFenced, target_.text);
  if (target_.known.counter > group_.known_epoch().counter)
    return fail(ErrorCode::kFenced, to_ + " knows of a newer master: see hotbackup status there");
  if (peer() == nullptr ||
      peer()->link.load() != static_cast<std::uint32_t>(control::LinkState::kStreaming))
    return fail(ErrorCode::kFenced,
                "nothing is streamed to " + to_ + " now: see hotbackup status " + name);
  HOTBACKUP_ASSIGN(barrier_, Barrier::open(group_));
  HOTBACKUP_TRY(drain(group_.published(), kDrainLimit, /*closed=*/false));
  steps_.done(to_ + " is ready");
  return {};
}

Result<> Switch::extend() {
  if (Clock::now() - extended_at_ < kPauseStep / 8) return {};
  extended_at_ = Clock::now();
  return group_.pause_gate(kPauseStep, /*first=*/false);
}

Result<> Switch::drain(UpdateNumber through, milliseconds limit, bool closed) {
  const control::Layout& layout = group_.layout();
  const auto end = Clock::now() + limit;
  for (;;) {
    const std::uint32_t ticket = layout.acknowledged_wake.load();
    if (group_.published() >= through && peer()->journaled.load() >= through.value &&
        peer()->applied.load() >= through.value)
      return {};
    if (Clock::now() > end)
      return fail(ErrorCode::kTimeout, to_ + " has update " +
                                           std::to_string(peer()->applied.load()) +
                                           " applied, not " + std::to_string(through.value) +
                                           ": see hotbackup status " + here_.settings.name);
    if (closed) HOTBACKUP_TRY(extend());
    os::futex_wait(layout.acknowledged_wake, ticket, milliseconds(20));
  }
}

// A round that nobody began a transaction in beside another one has seen all of them end.
Result<> Switch::wait_for_writers() {
  const std::atomic<std::uint32_t>& passed = group_.layout().roles.gate_passed;
  const auto end = Clock::now() + kPauseLimit;
  for (;;) {
    const std::uint32_t before = passed.load();
    Barrier::start(barrier_);
    std::optional<Result<>> round;
    while (!(round = barrier_->wait_for(milliseconds(50)))) {
      HOTBACKUP_TRY(extend());
      if (Clock::now() > end)
        return fail(ErrorCode::kTimeout, "a program holds a write transaction for longer than " +
                                             human_duration(kPauseLimit));
    }
    HOTBACKUP_TRY(*round);
    HOTBACKUP_TRY(extend());
    if (passed.load() == before) return {};
    if (Clock::now() > end)
      return fail(ErrorCode::kTimeout, "write transactions follow on each other without an end");
  }
}

Result<> Switch::compare_histories() {
  const UpdateNumber number = done_.number;
  HOTBACKUP_ASSIGN(const auto oldest, journal::oldest_update(group_.journal_directory()));
  wire::Ask ask;
  ask.kind = Kind::kHistory;
  ask.number = number;
  ask.from =
      std::max(oldest, UpdateNumber(number.value > kHashedMax ? number.value - kHashedMax : 1));
  HOTBACKUP_ASSIGN(const auto answer, link_->ask(ask, kAskLimit));
  if (answer.exit != 0) return fail(ErrorCode::kIo, to_ + ": " + answer.text);
  HOTBACKUP_ASSIGN(const auto at,
                   journal::position_at(group_.journal_directory(), group_.id(), number));
  if (answer.journaled.number != number || answer.journaled.chain != at.chain ||
      answer.applied != number)
    return fail(ErrorCode::kDiverged,
                to_ + " has another history at update " + std::to_string(number.value));
  if (answer.from > number) return {};  // it was seeded with all of it
  HOTBACKUP_ASSIGN(const auto hash, published_hash(group_, answer.from, number));
  if (hash != answer.hash)
    return fail(ErrorCode::kDiverged, to_ + " differs in which updates are void");
  if (compare_) {
    HOTBACKUP_ASSIGN(content_, content_hash(group_));
  }
  return {};
}

// The gate is closed; whatever fails, the caller opens it.
Result<> Switch::hand_over() {
  steps_.done("gate closed");
  HOTBACKUP_TRY(wait_for_writers());
  steps_.done("writers have ended");
  done_.number = group_.made();
  barrier_.reset();
  HOTBACKUP_TRY(group_.journal().sync_through(done_.number));
  group_.notify_published();
  HOTBACKUP_TRY(drain(done_.number, kPauseLimit, /*closed=*/true));
  steps_.done("drained");
  HOTBACKUP_TRY(compare_histories());
  HOTBACKUP_TRY(extend());
  steps_.done("compared");
  const Epoch before = group_.known_epoch();
  done_.epoch = {before.counter + 1, target_.node};
  HOTBACKUP_TRY(group_.resign(done_.epoch, to_, done_.number));
  steps_.done("role given up");
  return take_over(before);
}

Result<> Switch::take_over(const Epoch& before) {
  wire::Ask ask;
  ask.kind = Kind::kTakeOver;
  ask.epoch = done_.epoch;
  ask.number = done_.number;
  ask.token = (std::uint64_t{std::random_device{}()} << 32) | std::random_device{}();
  ask.compare = compare_;
  ask.content = content_;
  const auto answer = link_->ask(ask, kTakeOverLimit);
  if (!answer) return settle_unknown(ask, before, answer.error());
  if (answer->role != static_cast<std::uint32_t>(Role::kMaster)) {
    HOTBACKUP_TRY(group_.take_back(before));
    return fail(ErrorCode::kFenced, "undone: " + to_ + " does not take over: " + answer->text);
  }
  done_.pause_ms = ms_since(closed_at_) - static_cast<double>(answer->hash) / 1000;
  done_.needs_you = answer->exit == 0 ? "" : answer->text;
  steps_.add(steps_from_json(answer->report));
  steps_.done(to_ + " has taken over");
  return {};
}

// It was told and did not answer. Either it is master now, or it never becomes so with this token.
Result<> Switch::settle_unknown(const wire::Ask& ask, const Epoch& before, const Error& why) {
  wire::Ask cancel;
  cancel.kind = Kind::kCancel;
  cancel.token = ask.token;
  const auto end = Clock::now() + kAskAgain;
  while (Clock::now() < end) {
    auto link = PeerLink::open(here_, to_, milliseconds(1000));
    const auto answer = link ? (*link)->ask(cancel, kAskAgain)
                             : Result<wire::Answer>(fail(std::move(link).error()));
    if (answer && answer->role == static_cast<std::uint32_t>(Role::kMaster)) {
      done_.pause_ms = ms_since(closed_at_);
      steps_.done(to_ + " has taken over");
      return {};
    }
    if (answer && answer->exit == 0) {
      HOTBACKUP_TRY(group_.take_back(before));
      return fail(ErrorCode::kFenced, "undone: " + why.text());
    }
    std::this_thread::sleep_for(milliseconds(100));
  }
  return fail(ErrorCode::kDisconnected,
              to_ +
                  " was told to take over and does not answer: this node writes no more. Type "
                  "hotbackup status on " +
                  to_ + "; where it is not master, type hotbackup promote " + here_.settings.name +
                  " here");
}

}  // namespace

Result<Switched> switch_over(const Here& here, const std::string& to, bool compare) {
  return Switch(here, to, compare).run();
}

}  // namespace hotbackup::roles
