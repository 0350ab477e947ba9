// SPDX-License-Identifier: Apache-2.0
#include "common/service/server.h"
#include "slave/server.h"

int main(int argc, char** argv) {
  using namespace hotbackup;
  service::Program program;
  program.name = "hotbackup-slave";
  program.description =
      "Receives, journals and applies the updates of the groups this node is slave of.";
  program.make = [](asio::io_context& io, const service::Node& node) {
    return std::make_unique<slave::Server>(io, node);
  };
  return service::run(argc, argv, program);
}
