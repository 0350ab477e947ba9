// SPDX-License-Identifier: Apache-2.0
// Serves small answers over HTTP: libmicrohttpd behind limits. Nothing of a request is parsed here.
// docs/decisions/0041-http-by-libmicrohttpd.md.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "common/base/error.h"
#include "common/config/quantity.h"

struct MHD_Daemon;

namespace hotbackup::people {

struct HttpRequest {
  std::string path;
  /// Value of a parameter behind '?', decoded; nothing when it is not there.
  std::function<std::optional<std::string>(const char* name)> parameter;
};

struct HttpResponse {
  unsigned status = 200;
  std::string type = "text/plain; charset=utf-8";
  std::string body;
};

/// GET and HEAD only. The handler is called by one thread, which has ended when this is destroyed.
class HttpServer {
 public:
  using Handler = std::function<HttpResponse(const HttpRequest&)>;

  /// Takes the port, or says why it cannot.
  static Result<std::unique_ptr<HttpServer>> open(const config::Address& address, Handler handler);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  static constexpr unsigned kConnectionsMax = 32;
  static constexpr unsigned kIdleSeconds = 10;  // a connection that says nothing is closed
  static constexpr std::size_t kRequestBytesMax = 16384;  // line and headers

  HttpResponse handle(const HttpRequest& request) { return handler_(request); }

 private:
  explicit HttpServer(Handler handler) : handler_(std::move(handler)) {}

  Handler handler_;
  MHD_Daemon* daemon_ = nullptr;
};

}  // namespace hotbackup::people
