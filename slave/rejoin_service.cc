// SPDX-License-Identifier: Apache-2.0
// What group service and session do for a rejoin. docs/decisions/0031-rejoin.md.
#include <spdlog/spdlog.h>

#include "common/retention/claims.h"
#include "slave/group_service.h"
#include "slave/session.h"

namespace hotbackup::slave {
namespace {

constexpr char kAsks[] = "HB-rejoin-asks";
constexpr char kStopped[] = "HB-rejoin-stopped";
constexpr char kAhead[] = "HB-slave-ahead";

/// What other nodes and the archive have of this node's old history proves nothing about the new.
Result<> forget_beyond(control::Group& group, UpdateNumber common) {
  return retention::change_record(group, [common](retention::Record& record) {
    record.archived = std::min(record.archived, common);
    std::erase_if(record.claims,
                  [common](const retention::Claim& claim) { return claim.at.number > common; });
  });
}

}  // namespace

asio::awaitable<Result<wire::Agree>> GroupService::agree(std::vector<Position> positions) {
  control::Group& group = *group_;
  auto look = [&group, &positions] { return slave::agree(group, positions); };
  const auto agreed = co_await journal_worker_.run(look);
  if (!agreed) co_return fail(agreed.error());
  co_return wire::Agree{*agreed};
}

// On the journal thread. At the end the applier starts: it waits until the journal has what it
// needs.
Result<std::optional<wire::Fetch>> GroupService::go_on_rejoining() {
  HOTBACKUP_ASSIGN(auto request, rejoiner_->next_request());
  if (request) return request;
  HOTBACKUP_TRY(rejoiner_->finish());
  spdlog::info("{}: {} updates kept as orphans, {} of items fetched to undo them",
               configuration_.name, rejoiner_->orphans(), human_bytes(rejoiner_->bytes()));
  rejoiner_.reset();
  group_->incidents().clear(kStopped);
  HOTBACKUP_TRY(start_applier());
  return request;
}

asio::awaitable<Result<std::optional<wire::Fetch>>> GroupService::begin_rejoin(Position common,
                                                                               std::string master) {
  if (configuration_.rejoin == config::Rejoin::kAsk) {
    const std::string text = "what was made here after update " +
                             std::to_string(common.number.value) + " is not in the history of " +
                             master + ": it waits for a decision to rejoin";
    group_->incidents().raise(kAsks, "", text);
    co_return fail(ErrorCode::kRefused, text);
  }
  group_->incidents().clear(kAsks);
  auto begin = [this, &common, &master]() -> Result<std::optional<wire::Fetch>> {
    applier_->stop();
    rejoiner_ = std::make_unique<Rejoiner>(*group_, copies_);
    HOTBACKUP_TRY(rejoiner_->begin(common, master));
    HOTBACKUP_TRY(forget_beyond(*group_, common.number));
    return go_on_rejoining();
  };
  auto begun = co_await journal_worker_.run(begin);
  note_disk(begun ? nullptr : &begun.error());
  if (!begun && begun.error().code() == ErrorCode::kRefused)
    group_->incidents().raise(kStopped, "", begun.error().text());
  co_return begun;
}

asio::awaitable<Result<std::optional<wire::Fetch>>> GroupService::answered(Position at) {
  auto go_on = [this, &at]() -> Result<std::optional<wire::Fetch>> {
    HOTBACKUP_TRY(rejoiner_->answered(at));
    return go_on_rejoining();
  };
  auto done = co_await journal_worker_.run(go_on);
  note_disk(done ? nullptr : &done.error());
  co_return done;
}

// On the journal thread.
Result<> GroupService::begin_from_nothing(const std::string& master) {
  applier_->stop();
  auto begun = begin_anew(*group_, copies_, master);
  auto started = start_applier();
  return begun ? started : begun;
}

// A slave that was never master has nothing that its master lacks: it is seeded as a person says.
asio::awaitable<void> GroupService::heard(Error why, std::string master) {
  verdict_shown_ = true;
  if (why.code() == ErrorCode::kDiverged) group_->incidents().raise(kAhead, master, why.text());
  if (why.code() == ErrorCode::kRefused && rejoiner_ != nullptr)
    group_->incidents().raise(kStopped, "", why.text());
  if (why.code() != ErrorCode::kGap || group_->role() != control::Role::kFenced ||
      configuration_.rejoin != config::Rejoin::kRewindOrSeed)
    co_return;
  auto work = [this, &master] { return begin_from_nothing(master); };
  const Result<> done = co_await journal_worker_.run(work);
  note_disk(done ? nullptr : &done.error());
  if (done)
    spdlog::warn(
        "{}: {} no longer has the history that leads back: a seed follows, and the old "
        "environments are kept aside",
        configuration_.name, master);
  else
    group_->incidents().raise(kStopped, "", done.error().text());
}

asio::awaitable<Result<>> Session::rejoin(Work work) {
  Result<std::optional<wire::Fetch>> next = std::nullopt;
  if (auto* probe = std::get_if<wire::Probe>(&work)) {
    auto agreed = co_await service_->agree(std::move(probe->at));
    if (!agreed) co_return fail(std::move(agreed).error());
    machine_.agree(*agreed);
    co_return Result<>();
  }
  if (const auto* rewind = std::get_if<wire::Rewind>(&work)) {
    if (entry_ != nullptr)
      service_->group().set_link(*entry_, control::LinkState::kConnected, "rejoining");
    next = co_await service_->begin_rejoin(rewind->common, machine_.peer().node_name);
  } else {
    next = co_await service_->answered(std::get<wire::FetchEnd>(work).at);
  }
  if (!next) {
    const bool refused = next.error().code() == ErrorCode::kRefused;
    co_return fail(
        machine_.refuse(refused ? wire::RefuseReason::kDiverged : wire::RefuseReason::kNotReady,
                        next.error().code(), next.error().text()));
  }
  if (*next)
    machine_.fetch(std::move(**next));
  else
    machine_.rewound();
  co_return Result<>();
}

}  // namespace hotbackup::slave
