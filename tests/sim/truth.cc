// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/truth.h"

namespace hotbackup::sim {

Truth::Truth(World& world, std::size_t environments) : world_(world), content_(environments) {
  digests_.emplace_back(environments, 0);
}

void Truth::appended(UpdateNumber number, Update update) {
  world_.require(number == made().next(), "an update's number does not follow on", "master",
                 number.value, made().value);
  updates_.push_back(std::move(update));
}

void Truth::decided(UpdateNumber number, bool committed) {
  Update& update = updates_[number.value - 1];
  const Fate fate = committed ? Fate::kCommitted : Fate::kVoid;
  world_.require(update.fate == Fate::kOpen || update.fate == fate,
                 "the fate of an update has changed", "master", number.value);
  update.fate = fate;
}

void Truth::told(UpdateNumber number, bool committed) {
  Update& update = updates_[number.value - 1];
  world_.require(update.fate == (committed ? Fate::kCommitted : Fate::kVoid),
                 "a caller was told what is not so", "master", number.value);
  update.told = update.told || committed;
}

void Truth::publish(UpdateNumber through) {
  world_.require(through >= published(), "the published number has gone back", "master",
                 through.value, published().value);
  while (published() < through) {
    const UpdateNumber number = published().next();
    const Update& update = at(number);
    world_.require(update.fate != Fate::kOpen, "an update of open fate is published (R2)", "master",
                   number.value);
    if (update.fate == Fate::kCommitted)
      for (const Change& change : update.changes)
        content_[update.environment].apply(change.operation());
    std::vector<std::uint64_t> digests;
    for (const Content& content : content_) digests.push_back(content.digest);
    digests_.push_back(std::move(digests));
  }
}

void Truth::cut(UpdateNumber made_now, const ChainHash& chain) {
  world_.require(made_now >= published(), "the master has lost what was published", "master",
                 made_now.value, published().value);
  world_.require(made_now <= made(), "the master's journal has grown in a power loss", "master",
                 made_now.value, made().value);
  // A control frame is of no environment: the recovery that was cut short writes it again.
  for (UpdateNumber n = made_now.next(); n <= made(); n = n.next())
    world_.require(at(n).txnid == 0 || at(n).fate != Fate::kCommitted,
                   "the journal has lost an update that LMDB has committed (R1)", "master",
                   n.value);
  updates_.resize(made_now.value);
  if (made_now.value == 0 || at(made_now).chain == chain) return;
  // The last one may have been lost in a failed sync, and a refused one before it at the same place
  // kept: nobody was told of either.
  Update& last = updates_.back();
  world_.require(made_now > published() && last.fate != Fate::kCommitted && !last.told,
                 "the master's journal holds another history", "master", made_now.value);
  last = Update();
  last.fate = Fate::kVoid;
  last.chain = chain;
}

ChainHash Truth::chain_at(UpdateNumber number) const {
  return number.value == 0 ? first_chain_ : at(number).chain;
}

}  // namespace hotbackup::sim
