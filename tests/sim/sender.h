// SPDX-License-Identifier: Apache-2.0
// One link to a slave, as master::Session.
#pragma once

#include "common/wire/message.h"
#include "master/sender_machine.h"
#include "tests/sim/master.h"

namespace hotbackup::sim {

class SenderSession final : public Port {
 public:
  SenderSession(Master& master, Slave& slave, std::shared_ptr<Connection> link);
  ~SenderSession() override;
  void on_bytes(std::string_view bytes) override;
  void on_close() override { end(); }
  void on_room() override;
  bool reading() const override { return true; }

  void tick();
  void feed_later();
  bool over() const { return over_; }

 private:
  Result<> feed();
  Result<> compare();
  Result<> cut_seed();
  Result<> send_seed();
  Result<> stream();
  void flush();
  void end();
  void note_numbers();
  void fail_with(const Error& error);

  Master& master_;
  Slave& slave_;
  std::shared_ptr<Connection> link_;
  master::SenderMachine machine_;
  wire::MessageReader reader_;
  std::optional<journal::Reader> journal_;
  std::vector<Content> seed_;
  std::size_t seed_next_ = 0;
  std::uint64_t seed_items_ = 0;
  bool feed_due_ = false;
  bool writing_ = false;
  bool over_ = false;
};

}  // namespace hotbackup::sim
