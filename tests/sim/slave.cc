// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/slave.h"

#include <cinttypes>
#include <cstdio>

namespace hotbackup::sim {
namespace {

constexpr Span kTick{50'000};
constexpr char kApplied[] = "applied";
constexpr char kSeeding[] = "seeding";

}  // namespace

Slave::Server::Server(Slave& slave)
    : journal(*slave.directory_, *slave.tail_, the_group(), kSegmentBytes),
      machine({.batch_bytes = 4096, .stretch_updates = 24, .stretch_bytes = 12'000}) {}

Slave::Slave(World& world, Network& network, int number, const Truth& truth, GapChecker& gaps,
             PinChecker& pins)
    : Machine(world, network, number, "slave" + std::to_string(number)),
      truth_(truth),
      prefix_(world, truth),
      positions_(world, name_),
      readers_(world, truth, name_),
      gaps_(gaps),
      pins_(pins),
      copies_(truth.environments()) {
  boot();
}

void Slave::later(Span least, Span most, std::function<void()> what) {
  world_.within(least, most, [this, life = lives_, what = std::move(what)] {
    if (life == lives_ && server_ != nullptr) in_server(what);
  });
}

bool Slave::in_server(const std::function<void()>& piece) {
  switch (run(piece)) {
    case Ran::kWhole:
      return true;
    case Ran::kEnded:
      server_died();
      return false;
    case Ran::kNoPower:
      return false;
  }
  return false;
}

// A new boot: the control file is made anew from the journal.
void Slave::boot() {
  bool recovered = false;
  const Ran ran = run([&] {
    auto found = recover();
    if (!found) {
      world_.note(name_, found.error().text());
      if (found.error().code() == ErrorCode::kCorrupt) stuck_ = true;
      tail_.reset();
      return;
    }
    positions_.recovered(found->made);
    shown_ = UpdateNumber(0);
    recovered = true;
  });
  if (ran == Ran::kNoPower) return;
  if (recovered && ran == Ran::kWhole) return start_server();
  tail_.reset();  // whoever comes next tries again
  restart_later(Span(50'000));
}

void Slave::restart_later(Span most) {
  world_.within(Span(1'000), most, [this, boot = boots_, life = lives_] {
    if (boot != boots_ || life != lives_ || !up_ || server_ != nullptr) return;
    if (tail_ == nullptr)
      this->boot();
    else
      start_server();
  });
}

void Slave::start_server() {
  ++lives_;
  world_.note(name_, "the server starts", made().value);
  server_ = std::make_unique<Server>(*this);
  if (!in_server([this] {
        if (auto started = start_applier(); !started) {
          world_.note(name_, started.error().text());
          if (started.error().code() == ErrorCode::kCorrupt)
            stuck_ = true;
          else
            throw test::ProcessEnds();  // tried again by its supervisor
        }
      }))
    return;
  later(kTick, kTick, [this] { tick(); });
  later(Span(20'000), Span(60'000), [this] { keep_house(); });
}

void Slave::server_died() {
  ++lives_;
  world_.note(name_, "the server has ended");
  server_.reset();
  restart_later(Span(80'000));
}

void Slave::end_server() {
  if (server_ != nullptr) server_died();
}

void Slave::on_power_loss() {
  ++lives_;
  server_.reset();
  positions_.power_lost();
  for (std::size_t e = 0; e < copies_.size(); ++e) {
    if (world_.random().chance(0.5)) copies_[e].lose_last();
    copies_[e].sync();
    readers_.begin_again(e, copies_[e].number());
  }
}

// As `init --replace`: journal, copies and files of state begin anew.
void Slave::wipe() {
  world_.note(name_, "is made anew");
  ++lives_;
  ++boots_;
  server_.reset();
  disk_.revive();
  disk_.faults() = {};
  for (const char* folder : {kJournal, kState}) {
    auto directory = disk_.directory(folder);
    for (const std::string& name : disk_.names(folder)) (void)directory->remove(name);
    (void)directory->sync();
  }
  copies_.assign(copies_.size(), Store());
  positions_.wiped();
  readers_.forget();
  stuck_ = false;
  up_ = true;
  boot();
}

void Slave::flip_bit() {
  std::vector<std::string> whole;
  for (const std::string& name : disk_.names(kJournal))
    if (journal::parse_segment_name(name)) whole.push_back(name);
  if (whole.size() < 2) return;
  const std::string name = whole[world_.random().below(whole.size() - 1)];
  const std::uint64_t bit = world_.random().below(kSegmentBytes * 8);
  if (disk_.flip_bit(kJournal, name, bit)) world_.note(name_, "a bit turns in the journal", bit);
}

// --- the journal's side: what GroupService and Session do ---

bool Slave::accept(const std::shared_ptr<Connection>& link) {
  if (server_ == nullptr || !up_) return false;
  // A master that calls again has lost its old link; what that one received is journaled first.
  if (server_->leaving) return false;
  if (server_->session) drop_session();
  server_->session = std::make_unique<ReceiverSession>(*this, link);
  link->attach(1, *server_->session);
  return true;
}

void Slave::drop_session() {
  ReceiverSession& session = *server_->session;
  session.end();
  server_->leaving = std::move(server_->session);
  wake_worker();
}

void Slave::tick() {
  if (server_->session) server_->session->tick();
  later(kTick, kTick, [this] { tick(); });
}

// docs/formats/applied.md: the segments are needed from the lower bound on.
void Slave::keep_house() {
  later(Span(20'000), Span(60'000), [this] { keep_house(); });
  if (server_->seed_at) return;
  if (server_->start_failed)
    if (auto started = start_applier(); !started) world_.note(name_, started.error().text());
  const auto tidied = [&]() -> Result<> {
    HOTBACKUP_TRY(journal::prepare_spare(directory(), kSegmentBytes));
    HOTBACKUP_ASSIGN(const auto range, read_applied());
    HOTBACKUP_ASSIGN(const auto segments, journal::list_segments(directory()));
    for (std::size_t i = 0; range && i + 1 < segments.size(); ++i) {
      if (segments[i + 1].previous() > range->lower) break;
      HOTBACKUP_TRY(journal::retire_segment(directory(), segments[i], kSegmentBytes));
    }
    return {};
  }();
  if (!tidied) world_.note(name_, tidied.error().text());
}

void Slave::wake_worker() {
  if (std::exchange(server_->work_due, true)) return;
  const Span most = slow_ ? Span(30'000) : Span(2'000);
  later(Span(20), most, [this] {
    server_->work_due = false;
    do_work();
  });
}

// In order, the older session's first; one piece an event, so that everything else can come
// between.
void Slave::do_work() {
  Server& server = *server_;
  if (server.leaving && server.leaving->work_.empty()) {
    server.journal.drop_partial();
    if (server.seed_at) {  // abandoned
      server.seed_at.reset();
      if (auto started = start_applier(); !started) world_.note(name_, started.error().text());
    }
    server.leaving.reset();
  }
  ReceiverSession* session = server.leaving ? server.leaving.get() : server.session.get();
  if (session == nullptr) return;
  if (!session->work_.empty()) {
    slave::Work work = std::move(session->work_.front());
    session->work_.pop_front();
    auto done = perform(*session, std::move(work));
    if (!done) {
      world_.note(name_, done.error().text());
      session->work_.clear();
      if (!session->over_) {
        session->flush();
        session->end();
      }
    }
  }
  if (session == server.session.get() && session->over_) drop_session();
  if (server.session) server.session->flush();
  if (server.leaving || (server.session && !server.session->work_.empty())) wake_worker();
}

Result<> Slave::perform(ReceiverSession& session, slave::Work work) {
  if (const auto* hello = std::get_if<wire::Hello>(&work))
    return session.over_ ? Result<>() : greet(session, *hello);
  if (const auto* frames = std::get_if<slave::CheckedFrames>(&work)) {
    if (auto done = append(frames->frames, frames->through); !done) {
      if (!session.over_)
        (void)session.machine_.refuse(wire::RefuseReason::kNotReady, done.error().code(),
                                      done.error().text());
      return done;
    }
    if (!session.over_) session.machine_.journaled(frames->through);
    wake_applier();
    return {};
  }
  Server& server = *server_;
  if (const auto* begin = std::get_if<wire::SeedBegin>(&work)) {
    world_.note(name_, "a seed begins", begin->at.number.value);
    server.applying = false;
    server.reader.reset();
    server.seed_at = begin->at;
    server.seed.assign(copies_.size(), Content());
    server.seed_items = 0;
    return {};
  }
  if (!server.seed_at) return fail(ErrorCode::kProtocol, "a part of no seed");
  if (const auto* part = std::get_if<wire::SeedPart>(&work)) {
    return update::read_body(part->body, [&](const update::Operation& operation) -> Result<> {
      if (operation.kind == update::OperationKind::kPut) ++server.seed_items;
      server.seed.at(part->environment.value - 1).apply(operation);
      return {};
    });
  }
  HOTBACKUP_TRY(end_seed(std::get<wire::SeedEnd>(work).items));
  if (!session.over_) session.machine_.seeded();
  return start_applier();
}

// What a welcome says is a promise: synced, and free of a half received update.
Result<> Slave::greet(ReceiverSession& session, const wire::Hello& hello) {
  Server& server = *server_;
  server.journal.drop_partial();
  UpdateNumber number;
  auto position = [&]() -> Result<Position> {
    HOTBACKUP_TRY(discard_unfinished_seed());
    { HOTBACKUP_TRY(server.journal.lock()); }
    number = made();
    HOTBACKUP_TRY(server.journal.sync_through(number));
    return journal::position_at(directory(), the_group(), number);
  }();
  if (!position) {
    if (position.error().code() == ErrorCode::kCorrupt) stuck_ = true;
    return fail(session.machine_.refuse(wire::RefuseReason::kDamaged, position.error().code(),
                                        position.error().text()));
  }
  wire::Welcome welcome;
  welcome.node_name = name_;
  welcome.node = node_id();
  welcome.journaled = *position;
  welcome.applied = std::min(shown_, number);
  welcome.time = world_.wall();
  welcome.check_period = std::chrono::milliseconds(200);
  (void)hello;
  session.machine_.welcome(std::move(welcome), std::chrono::milliseconds(200));
  session.reader_.set_limit(wire::kMessageBytesMax);
  return {};
}

// slave::GroupService::append_frames.
Result<> Slave::append(const std::string& frames, UpdateNumber through) {
  journal::Journal& journal = server_->journal;
  {
    HOTBACKUP_ASSIGN(auto lock, journal.lock());
    HOTBACKUP_TRY(slave::for_each_frame(frames, [&](const journal::FrameView& frame) {
      return journal.append_received(lock, frame);
    }));
  }
  HOTBACKUP_TRY(journal.sync_through(through));
  return {};
}

// slave::Seeder::end, in the order of docs/formats/applied.md.
Result<> Slave::end_seed(std::uint64_t items) {
  Server& server = *server_;
  if (items != server.seed_items)
    return fail(ErrorCode::kProtocol, "items of the seed are missing");
  const Position at = *server.seed_at;
  HOTBACKUP_TRY(replace(kSeeding, "copies"));
  readers_.forget();
  for (std::size_t e = 0; e < copies_.size(); ++e) {
    Store fresh;
    fresh.commit(std::move(server.seed[e]));
    fresh.sync();
    fresh.note_number(at.number);
    copies_[e] = std::move(fresh);
    readers_.sees(e, at.number, copies_[e].content());
  }
  {
    HOTBACKUP_ASSIGN(auto lock, server.journal.lock());
    HOTBACKUP_TRY(server.journal.restart_after(lock, at));
  }
  HOTBACKUP_TRY(write_applied({at.number, at.number}));
  gaps_.seeds(name_);  // a process that ends in the next line has the seed
  HOTBACKUP_TRY(remove(kSeeding));
  shown_ = at.number;
  server.seed_at.reset();
  ++seeds_;
  world_.note(name_, "is seeded", at.number.value);
  return {};
}

Result<> Slave::discard_unfinished_seed() {
  if (!exists(kSeeding)) return {};
  HOTBACKUP_TRY(remove(kApplied));
  shown_ = UpdateNumber(0);
  readers_.forget();
  journal::Journal& journal = server_->journal;
  HOTBACKUP_ASSIGN(auto lock, journal.lock());
  return journal.restart_after(lock, {{}, UpdateNumber(0), journal::chain_before_all(the_group())});
}

// --- the copies' side: what Applier does ---

Result<> Slave::start_applier() {
  Server& server = *server_;
  server.start_failed = true;
  HOTBACKUP_TRY(discard_unfinished_seed());
  HOTBACKUP_ASSIGN(const auto range, read_applied());
  UpdateNumber oldest;
  if (!range && made().value != 0) {
    HOTBACKUP_ASSIGN(oldest, journal::oldest_update(directory()));
  }
  HOTBACKUP_TRY(server.machine.resume(range, made(), oldest));
  shown_ = server.machine.shown_after_restart(shown_);
  server.reader.reset();
  server.applying = true;
  server.start_failed = false;
  wake_applier();
  return {};
}

void Slave::wake_applier() {
  if (!server_->applying || std::exchange(server_->apply_due, true)) return;
  later(Span(20), slow_ ? Span(60'000) : Span(3'000), [this] {
    server_->apply_due = false;
    if (server_->applying) apply();
  });
}

void Slave::apply() {
  if (UpdateNumber(tail_->synced.load()) <= server_->machine.done()) return;
  Batch batch;
  if (auto done = apply_available(batch); !done) react(done.error());
  if (server_ != nullptr && server_->applying &&
      UpdateNumber(tail_->synced.load()) > server_->machine.done())
    wake_applier();
}

Result<> Slave::apply_available(Batch& batch) {
  Server& server = *server_;
  const UpdateNumber first = server.machine.begin_batch();
  const UpdateNumber through = server.machine.batch_end(UpdateNumber(tail_->synced.load()));
  server.reading = true;
  if (!server.reader) {
    server.reader.emplace(directory(), the_group());
    HOTBACKUP_TRY(server.reader->seek(first));
  }
  for (;;) {
    server.machine.at_frame(server.reader->next_number());
    server.reading = true;
    HOTBACKUP_ASSIGN(const auto frame, server.reader->next(through));
    if (!frame) break;
    server.reading = false;
    if (frame->header.part == 0) {
      const auto before = server.machine.before_update(frame->header, batch.bytes);
      if (before.commit) HOTBACKUP_TRY(commit(batch));
      if (before.extend) HOTBACKUP_TRY(extend(frame->header));
    }
    HOTBACKUP_TRY(apply_frame(batch, *frame));
  }
  server.reading = false;
  return commit(batch);
}

Result<> Slave::apply_frame(Batch& batch, const journal::FrameView& frame) {
  slave::ApplyMachine& machine = server_->machine;
  switch (machine.take(frame.header)) {
    case slave::ApplyMachine::Take::kApply:
      if (frame.header.kind == journal::FrameKind::kUpdate) {
        const std::uint32_t e = frame.header.environment.value - 1;
        auto open = batch.open.find(e);
        if (open == batch.open.end()) open = batch.open.emplace(e, copies_.at(e).content()).first;
        batch.bytes += frame.bytes.size();
        HOTBACKUP_TRY(update::read_body(frame.body, [&](const update::Operation& operation) {
          open->second.apply(operation);
          return Result<>();
        }));
      }
      break;
    case slave::ApplyMachine::Take::kSkip:
      break;
    case slave::ApplyMachine::Take::kAgain:
      return fail(ErrorCode::kCancelled, "void");
  }
  machine.taken(frame.header, frame.bytes.size());
  return {};
}

// The server may end between two environments' commits.
Result<> Slave::commit(Batch& batch) {
  Random& random = world_.random();
  slave::ApplyMachine& machine = server_->machine;
  const bool ends = random.chance(crash_in_commit_);
  std::size_t left = ends ? random.below(batch.open.size() + 1) : ~std::size_t{0};
  for (auto& [e, content] : batch.open) {
    if (left-- == 0) throw test::ProcessEnds();
    copies_[e].commit(std::move(content));
    copies_[e].note_number(machine.batch_last());
    readers_.sees(e, machine.batch_last(), copies_[e].content());
  }
  if (left == 0) throw test::ProcessEnds();
  batch = Batch();
  const auto visible = machine.committed();
  for (std::size_t e = 0; e < copies_.size(); ++e) {
    readers_.sees(e, machine.done(), copies_[e].content());
    copies_[e].note_number(machine.done());
  }
  if (!visible) return {};
  shown_ = *visible;
  readers_.told(shown_);
  if (server_->session) {
    server_->session->machine_.applied(shown_);
    server_->session->flush();
  }
  return {};
}

Result<> Slave::extend(const journal::FrameHeader& next) {
  HOTBACKUP_TRY(sync_copies());
  const slave::AppliedRange range = server_->machine.next_range(next);
  HOTBACKUP_TRY(write_applied(range));
  server_->machine.extended(range);
  return {};
}

Result<> Slave::sync_copies() {
  if (world_.random().chance(disk_.faults().sync_error))
    return fail_errno("simulated disk, syncing a copy", EIO);
  for (Store& copy : copies_) copy.sync();
  return {};
}

// slave::Applier::react: what a person mends there is a restart here.
void Slave::react(const Error& error) {
  Server& server = *server_;
  server.reader.reset();
  if (error.code() == ErrorCode::kCancelled) return;
  world_.note(name_, error.text());
  if (server.machine.failed()) return;
  server.applying = false;
  if (server.reading && error.code() == ErrorCode::kCorrupt) {
    stuck_ = true;
    return;
  }
  later(Span(5'000), Span(40'000), [this] {
    if (server_->seed_at) return;
    if (auto started = start_applier(); !started) throw test::ProcessEnds();
  });
}

std::string Slave::describe() const {
  std::string text = name_ + ": journaled " + std::to_string(made().value) + ", shows " +
                     std::to_string(shown_.value) + (stuck_ ? ", stuck" : "");
  if (server_ == nullptr) return text + ", no server";
  const slave::ApplyMachine& machine = server_->machine;
  text += ", applied " + std::to_string(machine.done().value) + " of reach " +
          std::to_string(machine.reach().value) + (server_->applying ? "" : ", not applying") +
          (server_->apply_due ? ", apply due" : "") + (server_->work_due ? ", work due" : "");
  if (server_->seed_at) text += ", in a seed";
  if (server_->leaving) text += ", a link leaves";
  return text + (server_->session ? ", a link" : ", no link");
}

// --- files of state ---

Result<std::optional<slave::AppliedRange>> Slave::read_applied() {
  auto directory = disk_.directory(kState);
  HOTBACKUP_TRY(directory->sync());
  auto file = directory->open(kApplied);
  if (!file && file.error().code() == ErrorCode::kNotFound) return std::nullopt;
  if (!file) return fail(std::move(file).error());
  char text[128] = {};
  HOTBACKUP_TRY((*file)->read_at(0, text, sizeof text - 1));
  slave::AppliedRange range;
  if (std::sscanf(text, "%" SCNu64 " %" SCNu64 " .", &range.lower.value, &range.upper.value) != 2)
    return fail(ErrorCode::kCorrupt, "the applied file is damaged");
  return range;
}

Result<> Slave::write_applied(const slave::AppliedRange& range) {
  return replace(
      kApplied, std::to_string(range.lower.value) + " " + std::to_string(range.upper.value) + " .");
}

Result<> Slave::replace(const std::string& name, const std::string& text) {
  auto directory = disk_.directory(kState);
  return os::replace_file(*directory, name, text);
}

Result<> Slave::remove(const std::string& name) {
  auto directory = disk_.directory(kState);
  if (auto removed = directory->remove(name);
      !removed && removed.error().code() != ErrorCode::kNotFound)
    return removed;
  return directory->sync();
}

bool Slave::exists(const std::string& name) {
  return disk_.directory(kState)->open(name).has_value();
}

// --- the link ---

ReceiverSession::ReceiverSession(Slave& slave, std::shared_ptr<Connection> link)
    : slave_(slave),
      link_(std::move(link)),
      machine_({std::chrono::milliseconds(200), std::chrono::milliseconds(1000),
                std::chrono::milliseconds(3000)},
               slave.world_.now()) {}

ReceiverSession::~ReceiverSession() {
  if (!over_) link_->leave(1, slave_.up_);
}

bool ReceiverSession::reading() const {
  std::size_t bytes = 0;
  for (const auto& work : work_)
    if (const auto* frames = std::get_if<slave::CheckedFrames>(&work))
      bytes += frames->frames.size();
  return bytes < 16 * 1024;
}

void ReceiverSession::on_bytes(std::string_view bytes) {
  slave_.in_server([&] {
    bytes.copy(reader_.prepare(bytes.size()), bytes.size());
    reader_.commit(bytes.size());
    const Time now = slave_.world_.now();
    for (;;) {
      auto message = reader_.next();
      if (!message || !*message) {
        if (!message) end();
        break;
      }
      auto work = machine_.receive(std::move(**message), now);
      if (!work) {
        slave_.world_.note(slave_.name_, work.error().text());
        if (work.error().code() == ErrorCode::kGap || work.error().code() == ErrorCode::kCorrupt)
          slave_.ask_for_wipe();
        slave_.world_.require(work.error().code() != ErrorCode::kDiverged,
                              "is refused as diverged: " + work.error().text(), slave_.name_);
        slave_.world_.require(work.error().code() != ErrorCode::kProtocol,
                              "the protocol is broken: " + work.error().text(), slave_.name_);
        flush();
        end();
        break;
      }
      if (*work) work_.push_back(std::move(**work));
    }
    machine_.set_reading(reading(), now);
    slave_.wake_worker();
  });
}

void ReceiverSession::tick() {
  if (over_) return;
  machine_.set_reading(reading(), slave_.world_.now());
  if (auto ticked = machine_.tick(slave_.world_.now()); !ticked) {
    slave_.world_.note(slave_.name_, ticked.error().text());
    end();
    slave_.wake_worker();
    return;
  }
  flush();
}

void ReceiverSession::flush() {
  if (over_) return;
  const Time now = slave_.world_.now();
  if (writing_) {
    if (!link_->room(1)) return;
    machine_.written(now);
    writing_ = false;
  }
  while (auto message = machine_.next_output(now)) {
    if (auto* heartbeat = std::get_if<wire::Heartbeat>(&*message))
      heartbeat->time = slave_.world_.wall();
    slave_.says(*message);
    link_->send(1, wire::encode(*message));
    if (!link_->room(1)) {
      writing_ = true;
      return;
    }
    machine_.written(now);
  }
}

void ReceiverSession::end() {
  if (std::exchange(over_, true)) return;
  link_->leave(1, slave_.up_);
  if (slave_.server_ && slave_.server_->session.get() == this) slave_.wake_worker();
}

// Every number that leaves is checked against what the disk holds for sure.
void Slave::says(const wire::Message& message) {
  UpdateNumber journaled;
  UpdateNumber applied;
  if (const auto* numbers = std::get_if<wire::Acknowledge>(&message)) {
    journaled = numbers->journaled;
    applied = numbers->applied;
  } else if (const auto* heartbeat = std::get_if<wire::Heartbeat>(&message)) {
    journaled = heartbeat->journaled;
    applied = heartbeat->applied;
  } else if (const auto* welcome = std::get_if<wire::Welcome>(&message)) {
    journaled = welcome->journaled.number;
    applied = welcome->applied;
    prefix_.journaled(name_, journaled, welcome->journaled.chain);
  } else {
    return;
  }
  if (journaled > positions_.journaled()) {
    world_.note(name_, "acknowledges", journaled.value, applied.value);
    require_durable(journaled, truth_.chain_at(journaled), "acknowledges what is not durable (R4)");
  }
  positions_.acknowledges(journaled, applied);
  pins_.moves(name_, journaled);
  readers_.told(applied);
}

}  // namespace hotbackup::sim
