// SPDX-License-Identifier: Apache-2.0
#include "common/people/http_server.h"

#include <microhttpd.h>
#include <netdb.h>
#include <sys/socket.h>

#include <cstring>
#include <exception>

namespace hotbackup::people {
namespace {

MHD_Result queue(MHD_Connection* connection, const HttpResponse& answer) {
  MHD_Response* response = MHD_create_response_from_buffer(
      answer.body.size(), const_cast<char*>(answer.body.data()), MHD_RESPMEM_MUST_COPY);
  if (response == nullptr) return MHD_NO;
  MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, answer.type.c_str());
  MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
  MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
  MHD_add_response_header(response, "Content-Security-Policy",
                          "default-src 'none'; style-src 'unsafe-inline'; script-src "
                          "'unsafe-inline'; connect-src 'self'; frame-ancestors 'none'");
  if (answer.status == MHD_HTTP_METHOD_NOT_ALLOWED)
    MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
  const MHD_Result queued = MHD_queue_response(connection, answer.status, response);
  MHD_destroy_response(response);
  return queued;
}

HttpResponse answer_safely(HttpServer& server, const HttpRequest& request) {
  try {
    return server.handle(request);
  } catch (const std::exception& error) {
    return {500, "text/plain; charset=utf-8", std::string(error.what()) + "\n"};
  }
}

MHD_Result answer(void* self, MHD_Connection* connection, const char* url, const char* method,
                  const char* /*version*/, const char* /*upload*/, std::size_t* upload_bytes,
                  void** state) {
  const bool reads = std::strcmp(method, MHD_HTTP_METHOD_GET) == 0 ||
                     std::strcmp(method, MHD_HTTP_METHOD_HEAD) == 0;
  if (!reads) return queue(connection, {405, "text/plain; charset=utf-8", "only GET and HEAD\n"});
  static char seen;
  if (*state == nullptr) {  // the headers are there; a body, which nobody needs, may follow
    *state = &seen;
    return MHD_YES;
  }
  if (*upload_bytes != 0) return MHD_NO;  // closes the connection
  HttpRequest request;
  request.path = url;
  request.parameter = [connection](const char* name) -> std::optional<std::string> {
    const char* value = MHD_lookup_connection_value(connection, MHD_GET_ARGUMENT_KIND, name);
    return value == nullptr ? std::nullopt : std::optional<std::string>(value);
  };
  return queue(connection, answer_safely(*static_cast<HttpServer*>(self), request));
}

struct FreeAddresses {
  void operator()(addrinfo* list) const { ::freeaddrinfo(list); }
};

}  // namespace

Result<std::unique_ptr<HttpServer>> HttpServer::open(const config::Address& address,
                                                     Handler handler) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* list = nullptr;
  const std::string port = std::to_string(address.port);
  if (const int rc = ::getaddrinfo(address.host.c_str(), port.c_str(), &hints, &list); rc != 0)
    return fail(ErrorCode::kIo, config::to_text(address) + ": " + ::gai_strerror(rc));
  const std::unique_ptr<addrinfo, FreeAddresses> addresses(list);
  std::unique_ptr<HttpServer> server(new HttpServer(std::move(handler)));
  unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL;
  if (list->ai_family == AF_INET6) flags |= MHD_USE_IPv6;
  errno = 0;
  server->daemon_ = MHD_start_daemon(
      flags, address.port, nullptr, nullptr, answer, server.get(), MHD_OPTION_SOCK_ADDR,
      list->ai_addr, MHD_OPTION_CONNECTION_LIMIT, kConnectionsMax, MHD_OPTION_CONNECTION_TIMEOUT,
      kIdleSeconds, MHD_OPTION_CONNECTION_MEMORY_LIMIT, kRequestBytesMax, MHD_OPTION_END);
  if (server->daemon_ == nullptr) return fail_errno(config::to_text(address), errno);
  return server;
}

HttpServer::~HttpServer() {
  if (daemon_ != nullptr) MHD_stop_daemon(daemon_);
}

}  // namespace hotbackup::people
