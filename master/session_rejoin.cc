// SPDX-License-Identifier: Apache-2.0
// A session with a slave that has another history: finding what both have, and giving it what
// undoes the rest. docs/decisions/0031-rejoin.md.
#include <spdlog/spdlog.h>

#include "common/retention/claims.h"
#include "master/fetch_source.h"
#include "master/session.h"

namespace hotbackup::master {
namespace {

Result<std::vector<Position>> look_up(control::Group& group,
                                      const std::vector<UpdateNumber>& numbers) {
  std::vector<Position> positions;
  for (const UpdateNumber number : numbers) {
    HOTBACKUP_ASSIGN(const auto at,
                     journal::position_at(group.journal_directory(), group.id(), number));
    positions.push_back(at);
  }
  return positions;
}

/// What follows the common position is kept for this slave from here on.
Result<std::unique_ptr<FetchSource>> take_cut(control::Group& group, std::string_view peer,
                                              const Position& common) {
  HOTBACKUP_TRY(retention::hold(group, peer, common));
  return FetchSource::cut(group);
}

}  // namespace

asio::awaitable<Result<>> Session::probe() {
  control::Group& group = context_.group;
  if (!searching_) {
    auto look = [&group] { return journal::oldest_update(group.journal_directory()); };
    const auto oldest = co_await context_.disk.run(look);
    if (!oldest) co_return fail(oldest.error());
    machine_.search_from(*oldest);
    searching_ = true;
    spdlog::warn("{}: {} has another history, of epoch {}; looking for what both have",
                 context_.configuration.name, entry_.name, machine_.peer_position().epoch.counter);
  }
  const std::vector<UpdateNumber> numbers = machine_.probe_numbers();
  auto look = [&group, &numbers] { return look_up(group, numbers); };
  auto positions = co_await context_.disk.run(look);
  if (!positions) co_return fail(std::move(positions).error());
  machine_.probe(std::move(*positions));
  co_return Result<>();
}

asio::awaitable<Result<>> Session::answer_fetch() {
  control::Group& group = context_.group;
  if (fetch_source_ == nullptr) {
    const std::string_view peer(entry_.name);
    const Position common = machine_.common();
    auto cut = [&group, peer, common] { return take_cut(group, peer, common); };
    auto source = co_await seed_worker_.run(cut);
    if (!source) co_return fail(std::move(source).error());
    fetch_source_ = std::move(*source);
    spdlog::info("{}: {}: goes back to update {}, and gets what it has to undo as of update {}",
                 context_.configuration.name, entry_.name, human_count(common.number.value),
                 human_count(fetch_source_->position().number.value));
  }
  FetchSource& source = *fetch_source_;
  const wire::Fetch& asked = machine_.fetch();
  auto want = [&source, &asked] { return source.want(asked.environment, asked.body); };
  const Result<> wanted = co_await seed_worker_.run(want);
  if (!wanted)
    co_return fail(
        machine_.refuse(wire::RefuseReason::kOther, wanted.error().code(), wanted.error().text()));
  while (true) {
    while (!machine_.wants_fetch_part()) co_await feed_.wait();
    std::string body;
    auto read = [&source, &body] { return source.next(body); };
    const auto more = co_await seed_worker_.run(read);
    if (!more) co_return fail(more.error());
    if (!*more) break;
    machine_.fetch_part({machine_.fetch().environment, std::move(body)});
    output_.notify();
  }
  machine_.end_fetch(source.position());
  co_return Result<>();
}

}  // namespace hotbackup::master
