// SPDX-License-Identifier: Apache-2.0
#include "common/service/server.h"
#include "master/server.h"

int main(int argc, char** argv) {
  using namespace hotbackup;
  service::Program program;
  program.name = "hotbackup-master";
  program.description = "Streams the updates of the groups this node is master of to their slaves.";
  program.make = [](asio::io_context& io, const service::Node& node) {
    return std::make_unique<master::Server>(io, node);
  };
  return service::run(argc, argv, program);
}
