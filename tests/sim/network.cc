// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/network.h"

namespace hotbackup::sim {

constexpr Span kRetransmit{10'000};

void Connection::send(int end, std::string_view bytes) {
  if (way_[end].broken)
    way_[end].lost += bytes.size();
  else
    way_[end].bytes += bytes;
  pump(end);
}

void Connection::leave(int end, bool announced) {
  port_[end] = nullptr;
  way_[1 - end].dead = true;
  way_[1 - end].bytes.clear();
  if (!announced) {
    way_[end].dead = true;
    return;
  }
  way_[end].closing = true;
  pump(end);
}

void Connection::cut(bool told) {
  for (int end : {0, 1}) {
    Way& way = way_[end];
    if (way.dead) continue;
    way.bytes.resize(world_.random().below(way.bytes.size() + 1));
    way.broken = true;
    way.closing = told;
    pump(end);
  }
}

void Connection::pump(int end) {
  Way& way = way_[end];
  if (way.scheduled || way.dead) return;
  way.scheduled = true;
  world_.after(network_.delay(), [self = shared_from_this(), end] {
    self->way_[end].scheduled = false;
    self->deliver(end);
  });
}

void Connection::deliver(int end) {
  Way& way = way_[end];
  Port* to = port_[1 - end];
  if (way.dead || to == nullptr) return;
  const bool held =
      network_.blocked(machine_[end], machine_[1 - end]) || (!to->reading() && !way.bytes.empty());
  if (held) {
    way.scheduled = true;
    world_.after(kRetransmit, [self = shared_from_this(), end] {
      self->way_[end].scheduled = false;
      self->deliver(end);
    });
    return;
  }
  if (!way.bytes.empty()) {
    Random& random = world_.random();
    const std::size_t size =
        random.chance(0.7) ? way.bytes.size() : 1 + random.below(way.bytes.size());
    const std::string piece = way.bytes.substr(0, size);
    way.bytes.erase(0, size);
    to->on_bytes(piece);
    if (port_[end] != nullptr && room(end)) port_[end]->on_room();
  }
  if (!way.bytes.empty()) {
    pump(end);
  } else if (way.closing) {
    way.dead = true;
    if (port_[1 - end] != nullptr) port_[1 - end]->on_close();
  }
}

std::shared_ptr<Connection> Network::connect(int machine0, int machine1) {
  auto connection = std::make_shared<Connection>(world_, *this, machine0, machine1);
  connections_.push_back(connection);
  return connection;
}

void Network::cut_one(bool told) {
  std::erase_if(connections_, [](const auto& connection) { return connection.expired(); });
  if (connections_.empty()) return;
  if (auto one = connections_[world_.random().below(connections_.size())].lock()) one->cut(told);
}

Span Network::delay() {
  Random& random = world_.random();
  const std::uint64_t usual = random.between(50, 1000);
  return Span(slowness_ * (random.chance(0.02) ? usual * 50 : usual));
}

}  // namespace hotbackup::sim
