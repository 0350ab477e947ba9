// SPDX-License-Identifier: Apache-2.0
// A slave: its disk, its copies, and the slave server with the real receiver machine, journal and
// apply machine. What GroupService, Session and Applier do with threads happens here in events.
#pragma once

#include <deque>

#include "common/wire/message.h"
#include "slave/apply_machine.h"
#include "slave/receiver_machine.h"
#include "tests/sim/checkers.h"
#include "tests/sim/machine.h"

namespace hotbackup::sim {

class Slave;

/// One link, as slave::Session.
class ReceiverSession final : public Port {
 public:
  ReceiverSession(Slave& slave, std::shared_ptr<Connection> link);
  ~ReceiverSession() override;
  void on_bytes(std::string_view bytes) override;
  void on_close() override { end(); }
  void on_room() override { flush(); }
  bool reading() const override;

  void tick();
  void flush();
  /// The link is over: what was received is still journaled.
  void end();

  Slave& slave_;
  std::shared_ptr<Connection> link_;
  slave::ReceiverMachine machine_;
  wire::MessageReader reader_;
  std::deque<slave::Work> work_;
  bool writing_ = false;
  bool over_ = false;
};

class Slave final : public Machine {
 public:
  Slave(World& world, Network& network, int number, const Truth& truth, GapChecker& gaps,
        PinChecker& pins);

  /// The listener: nothing when no server answers.
  bool accept(const std::shared_ptr<Connection>& link);
  /// kill -9 of the server; it starts again by itself after a while.
  void end_server();
  /// A person gives this slave up and makes it anew: the next link seeds.
  void wipe();
  /// A person is to look at this slave.
  void ask_for_wipe() { stuck_ = true; }
  bool stuck() const { return stuck_; }
  /// The disk's reader is slow: received work waits.
  void set_slow(bool slow) { slow_ = slow; }
  /// How often the server ends between the commits of a batch.
  void set_crash_in_commit(double often) { crash_in_commit_ = often; }
  /// One bit of a segment that is not the active one turns.
  void flip_bit();

  PositionChecker& positions() { return positions_; }
  UpdateNumber shown() const { return shown_; }
  UpdateNumber made() const { return UpdateNumber(tail_ ? tail_->made.load() : 0); }
  const Store& copy(std::size_t environment) const { return copies_[environment]; }
  std::uint64_t seeds() const { return seeds_; }
  /// For a person who looks at a history that does not end well.
  std::string describe() const;
  bool serving() const { return server_ != nullptr; }

 private:
  friend class ReceiverSession;

  /// The slave server's process: gone with it.
  struct Server {
    explicit Server(Slave& slave);
    journal::Journal journal;
    slave::ApplyMachine machine;
    std::optional<journal::Reader> reader;
    std::unique_ptr<ReceiverSession> session;
    std::unique_ptr<ReceiverSession> leaving;  // its link is over, its work is not
    bool applying = false;                     // the applier runs (not during a seed)
    bool start_failed = false;
    bool reading = false;  // an error comes from the journal
    bool work_due = false;
    bool apply_due = false;
    // A seed in progress.
    std::optional<Position> seed_at;
    std::vector<Content> seed;
    std::uint64_t seed_items = 0;
  };
  /// One LMDB transaction in each environment.
  struct Batch {
    std::map<std::uint32_t, Content> open;
    std::uint64_t bytes = 0;
  };

  void on_power_loss() override;
  void boot() override;
  void start_server();
  void server_died();
  void restart_later(Span most);
  /// Runs a piece of the server; false: it has ended in it.
  bool in_server(const std::function<void()>& piece);
  void later(Span least, Span most, std::function<void()> what);

  void tick();
  void keep_house();
  void wake_worker();
  void do_work();
  Result<> perform(ReceiverSession& session, slave::Work work);
  Result<> greet(ReceiverSession& session, const wire::Hello& hello);
  Result<> append(const std::string& frames, UpdateNumber through);
  Result<> end_seed(std::uint64_t items);
  Result<> discard_unfinished_seed();
  void drop_session();
  void says(const wire::Message& message);

  Result<> start_applier();
  void wake_applier();
  void apply();
  Result<> apply_available(Batch& batch);
  Result<> apply_frame(Batch& batch, const journal::FrameView& frame);
  Result<> commit(Batch& batch);
  Result<> extend(const journal::FrameHeader& next);
  void react(const Error& error);
  Result<> sync_copies();

  Result<std::optional<slave::AppliedRange>> read_applied();
  Result<> write_applied(const slave::AppliedRange& range);
  Result<> replace(const std::string& name, const std::string& text);
  Result<> remove(const std::string& name);
  bool exists(const std::string& name);

  const Truth& truth_;
  PrefixChecker prefix_;
  PositionChecker positions_;
  ReaderChecker readers_;
  GapChecker& gaps_;
  PinChecker& pins_;
  std::vector<Store> copies_;
  UpdateNumber shown_;  // in the control file: survives the server, not the boot
  std::unique_ptr<Server> server_;
  std::uint64_t lives_ = 0;  // of the server
  std::uint64_t seeds_ = 0;
  bool stuck_ = false;
  bool slow_ = false;
  double crash_in_commit_ = 0;
};

}  // namespace hotbackup::sim
