// SPDX-License-Identifier: Apache-2.0
// The master's machine: its disk, environments, writers, and the master server's process.
//
// Writers append through the real journal in the order of CAPTURE section 2; what the capture
// library does around it with liblmdb and the control file is modelled step by step, so that other
// processes and crashes come between any two steps (commit.cc in this folder).
#pragma once

#include <set>

#include "tests/sim/checkers.h"
#include "tests/sim/machine.h"
#include "tests/sim/slave.h"

namespace hotbackup::sim {

class SenderSession;

class Master final : public Machine {
 public:
  Master(World& world, Network& network, Truth& truth, GapChecker& gaps, PinChecker& pins);
  ~Master() override;

  void know(Slave& slave);
  void start_writers(std::size_t count);
  /// They finish what they are at.
  void stop_writers() { writing_ = false; }
  /// kill -9 of one of them, wherever it is.
  void end_writer();
  void end_server();
  /// How often LMDB's own commit fails.
  void set_commit_failures(double often) { commit_failures_ = often; }
  /// At the journal's limit: a slave's claim is given up.
  void forget(Slave& slave);
  /// A person made this slave anew: it claims nothing until its seed.
  void released(Slave& slave);

  bool idle() const;
  UpdateNumber made() const { return UpdateNumber(tail_ ? tail_->made.load() : 0); }
  const Store& environment(std::size_t number) const { return environments_[number].store; }

 private:
  friend class SenderSession;

  /// control::CommitSlot
  struct Slot {
    UpdateNumber number;
    std::uint64_t txnid = 0;
    journal::FrameLocation location;
    std::uint64_t owner = 0;  // a process's id
  };
  struct Environment {
    Store store;
    Slot slot;                 // shared memory of this boot
    std::uint64_t holder = 0;  // of LMDB's writer lock; 0: nobody
    UpdateNumber last;         // its last committed update
  };
  struct Writer {
    std::uint64_t id = 0;  // of its process; 0: not running
    std::unique_ptr<journal::Journal> journal;
    std::size_t environment = 0;
    std::vector<Change> changes;
    journal::Appended appended;
    std::uint64_t txnid = 0;  // of its update
  };
  struct Server {
    explicit Server(Master& master);
    journal::Journal journal;
    std::map<int, std::unique_ptr<SenderSession>> sessions;  // by slave
  };

  void on_power_loss() override;
  void boot() override;

  // commit.cc: the capture library's steps, one event each.
  void start_writer(std::size_t which);
  void writer_died(std::size_t which);
  void later(std::size_t which, Span most, std::function<void()> what);
  void begin(std::size_t which);
  void append(std::size_t which);
  void sync(std::size_t which);
  void commit(std::size_t which);
  void clear(std::size_t which);
  void void_failed(std::size_t which);
  void idle_for_a_while(std::size_t which);
  std::vector<Change> random_changes(const Content& content);
  Result<journal::Appended> append_update(Writer& writer);
  Result<> resolve(journal::Journal& journal, Environment& environment);
  /// Says nothing of an update whose append was cut short: another may have its number by now.
  void decided(const Environment& environment, UpdateNumber number, std::uint64_t txnid,
               bool committed);
  bool is_known(const Environment& environment, UpdateNumber number, std::uint64_t txnid) const;
  bool limbo_is_announced() const;
  /// Whether an update whose writer died in its append is in the journal; `locked`: the journal
  /// lock was taken since, so that it is now or never will be.
  void settle(bool locked);
  Result<> append_control(journal::Journal& journal, os::SharedLock& lock, journal::FrameKind kind,
                          std::size_t environment);
  Result<> append_baselines();
  /// The watermark may have moved.
  void moved();

  // recovery after a reboot: CAPTURE section 4.
  Result<> recover_group();
  struct Walked {
    UpdateNumber number;
    std::uint32_t environment = 0;
    std::uint64_t txnid = 0;
    bool is_void = false;
    std::vector<Change> changes;
  };
  Result<std::vector<Walked>> walk();
  Result<> roll_forward();

  // server.cc: the master server.
  void start_server();
  void server_died();
  bool in_server(const std::function<void()>& piece);
  void server_later(Span least, Span most, std::function<void()> what);
  void keep_house();
  Result<> tidy();
  void resolve_dead_slots();
  void call(int slave);
  void feed_all();

  Truth& truth_;
  GapChecker& gaps_;
  PinChecker& pins_checker_;
  std::vector<Environment> environments_;
  std::vector<Writer> writers_;
  std::map<int, Slave*> slaves_;
  std::map<int, UpdateNumber> pins_;  // the claims, as <group>/retention keeps them
  std::optional<Truth::Update> limbo_;
  UpdateNumber limbo_number_;      // of an update whose append has begun and not ended
  std::set<std::uint64_t> alive_;  // ids of processes that run
  std::uint64_t ids_ = 0;
  std::unique_ptr<Server> server_;
  std::uint64_t server_lives_ = 0;
  bool writing_ = false;
  double commit_failures_ = 0;
};

}  // namespace hotbackup::sim
