// SPDX-License-Identifier: Apache-2.0
// What commands need of this folder too: apart from run.cc, which brings the whole server along.
#include "common/identity/identity.h"
#include "common/service/server.h"

namespace hotbackup::service {

std::string program_version() {
  return "hotbackup " HOTBACKUP_VERSION;
}

Result<Node> make_node(config::Configuration configuration) {
  HOTBACKUP_ASSIGN(const auto identity, identity::load_or_create(configuration.node.state));
  HOTBACKUP_ASSIGN(auto key, net::TlsIdentity::make(identity));
  return Node{std::move(configuration), identity.node_id, std::move(key)};
}

}  // namespace hotbackup::service
