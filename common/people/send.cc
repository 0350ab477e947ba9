// SPDX-License-Identifier: Apache-2.0
// The ways to people. libcurl speaks SMTP and HTTP; nothing here parses what a server answers.
#include <curl/curl.h>
#include <fcntl.h>
#include <syslog.h>
#include <unistd.h>

#include <algorithm>
#include <asio/bind_cancellation_slot.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/co_spawn.hpp>
#include <asio/io_context.hpp>
#include <cstring>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>

#include "common/net/child_process.h"
#include "common/os/unique_fd.h"
#include "common/people/message.h"

namespace hotbackup::people {
namespace {

using nlohmann::ordered_json;

struct CloseCurl {
  void operator()(CURL* curl) const { curl_easy_cleanup(curl); }
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};
using Curl = std::unique_ptr<CURL, CloseCurl>;
using List = std::unique_ptr<curl_slist, CloseCurl>;

int stop_transfer(void* stop, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  return static_cast<const std::atomic<bool>*>(stop)->load() ? 1 : 0;
}

Result<Curl> make_curl(char* error, const std::atomic<bool>& stop) {
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
  Curl curl(curl_easy_init());
  if (curl == nullptr) return fail(ErrorCode::kIo, "libcurl cannot be used");
  error[0] = '\0';
  curl_easy_setopt(curl.get(), CURLOPT_ERRORBUFFER, error);
  curl_easy_setopt(curl.get(), CURLOPT_NOSIGNAL, 1L);    // threads
  curl_easy_setopt(curl.get(), CURLOPT_QUICK_EXIT, 1L);  // no wait for a name server at a stop
  curl_easy_setopt(curl.get(), CURLOPT_CONNECTTIMEOUT, 10L);
  curl_easy_setopt(curl.get(), CURLOPT_TIMEOUT, static_cast<long>(kSendLimit.count()));
  curl_easy_setopt(curl.get(), CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(curl.get(), CURLOPT_XFERINFOFUNCTION, stop_transfer);
  curl_easy_setopt(curl.get(), CURLOPT_XFERINFODATA, &stop);
  // What a server answers is of no use here; taking all of it would let it go on for ever.
  curl_easy_setopt(
      curl.get(), CURLOPT_WRITEFUNCTION,
      +[](char*, std::size_t, std::size_t bytes, void*) { return bytes; });
  return curl;
}

Result<> perform(CURL* curl, const char* error) {
  const CURLcode code = curl_easy_perform(curl);
  if (code == CURLE_OK) return {};
  return fail(code == CURLE_OPERATION_TIMEDOUT ? ErrorCode::kTimeout : ErrorCode::kIo,
              error[0] != '\0' ? error : curl_easy_strerror(code));
}

Result<> post(const std::string& url, const std::string& message, const std::atomic<bool>& stop) {
  char error[CURL_ERROR_SIZE];
  HOTBACKUP_ASSIGN(const Curl curl, make_curl(error, stop));
  const List headers(curl_slist_append(nullptr, "Content-Type: application/json"));
  curl_easy_setopt(curl.get(), CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl.get(), CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl.get(), CURLOPT_HTTPHEADER, headers.get());
  curl_easy_setopt(curl.get(), CURLOPT_POSTFIELDSIZE, static_cast<long>(message.size()));
  curl_easy_setopt(curl.get(), CURLOPT_POSTFIELDS, message.c_str());
  curl_easy_setopt(curl.get(), CURLOPT_USERAGENT, "hotbackup");
  curl_easy_setopt(curl.get(), CURLOPT_FAILONERROR, 1L);
  return perform(curl.get(), error);
}

/// A header's value: no line break of it may begin another header, and 7 bits are what all take.
std::string header_text(std::string_view text) {
  std::string out;
  for (const char c : text.substr(0, 200))
    out += static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) > 0x7e ? '?' : c;
  return out;
}

/// RFC 5322 date, in UTC whatever the locale.
std::string mail_date() {
  static constexpr const char* kDays[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  static constexpr const char* kMonths[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                            "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  ::gmtime_r(&now, &utc);
  char text[64];
  std::snprintf(text, sizeof text, "%s, %02d %s %d %02d:%02d:%02d +0000", kDays[utc.tm_wday % 7],
                utc.tm_mday, kMonths[utc.tm_mon % 12], utc.tm_year + 1900, utc.tm_hour, utc.tm_min,
                utc.tm_sec);
  return text;
}

std::string make_mail(const std::string& from, const std::string& to, const ordered_json& message) {
  std::string mail = "Date: " + mail_date() + "\r\nFrom: hotbackup <" + from +
                     ">\r\nTo: " + header_text(to) + "\r\nSubject: [hotbackup] " +
                     header_text(message.at("title").get<std::string>()) +
                     "\r\nAuto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n"
                     "Content-Type: text/plain; charset=utf-8\r\n"
                     "Content-Transfer-Encoding: 8bit\r\n\r\n";
  for (const char c : message.at("text").get<std::string>()) {
    if (c == '\n') mail += '\r';
    mail += c;
  }
  return mail;
}

struct Upload {
  const std::string& mail;
  std::size_t at = 0;
};
std::size_t read_upload(char* to, std::size_t size, std::size_t count, void* from) {
  Upload& upload = *static_cast<Upload*>(from);
  const std::size_t bytes = std::min(size * count, upload.mail.size() - upload.at);
  std::memcpy(to, upload.mail.data() + upload.at, bytes);
  upload.at += bytes;
  return bytes;
}

std::string host_name() {
  char name[256] = "localhost";
  if (::gethostname(name, sizeof name - 1) != 0) return "localhost";
  return header_text(name);
}

Result<> mail(const std::string& to, const ordered_json& message,
              const std::optional<config::Address>& smtp, const std::atomic<bool>& stop) {
  if (!smtp) return fail(ErrorCode::kConfig, "smtp is off in [node]");
  char error[CURL_ERROR_SIZE];
  HOTBACKUP_ASSIGN(const Curl curl, make_curl(error, stop));
  const std::string from = "hotbackup@" + host_name();
  const std::string text = make_mail(from, to, message);
  const List recipients(curl_slist_append(nullptr, ("<" + header_text(to) + ">").c_str()));
  const std::string url = "smtp://" + config::to_text(*smtp);
  Upload upload{text};
  curl_easy_setopt(curl.get(), CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl.get(), CURLOPT_PROTOCOLS_STR, "smtp");
  curl_easy_setopt(curl.get(), CURLOPT_MAIL_FROM, ("<" + from + ">").c_str());
  curl_easy_setopt(curl.get(), CURLOPT_MAIL_RCPT, recipients.get());
  curl_easy_setopt(curl.get(), CURLOPT_READFUNCTION, read_upload);
  curl_easy_setopt(curl.get(), CURLOPT_READDATA, &upload);
  curl_easy_setopt(curl.get(), CURLOPT_UPLOAD, 1L);
  return perform(curl.get(), error);
}

asio::awaitable<void> run_into(net::Command command, Result<>& result) {
  auto running = net::run_command(std::move(command));
  result = co_await std::move(running);
}

/// HOTBACKUP_* as hooks have it; the message whole in HOTBACKUP_MESSAGE.
Result<> execute(const std::string& command, const ordered_json& message, const std::string& text,
                 const std::atomic<bool>& stop) {
  net::Command run;
  run.shell = command;
  run.limit = kSendLimit;
  run.environment = {{"HOTBACKUP_NODE", message.at("node").get<std::string>()},
                     {"HOTBACKUP_TITLE", message.at("title").get<std::string>()},
                     {"HOTBACKUP_TEXT", message.at("text").get<std::string>()},
                     {"HOTBACKUP_MESSAGE", text}};
  if (const ordered_json& incidents = message.at("incidents"); !incidents.empty()) {
    const ordered_json& first = incidents.front();
    for (const auto& [name, key] :
         {std::pair("HOTBACKUP_GROUP", "group"), std::pair("HOTBACKUP_CODE", "code"),
          std::pair("HOTBACKUP_SEVERITY", "severity")})
      run.environment[name] = first.at(key).get<std::string>();
  }
  asio::io_context io(1);
  Result<> result = fail(ErrorCode::kCancelled, "cancelled");
  asio::cancellation_signal cancel;
  const auto ended = [&result](const std::exception_ptr& failed) {
    if (failed != nullptr) result = fail(ErrorCode::kIo, "the command could not be run");
  };
  asio::co_spawn(io, run_into(std::move(run), result),
                 asio::bind_cancellation_slot(cancel.slot(), ended));
  while (!io.stopped()) {
    io.run_for(std::chrono::milliseconds(100));
    if (stop.load()) cancel.emit(asio::cancellation_type::terminal);
  }
  return result;
}

Result<> append(const std::string& path, const std::string& text) {
  const os::UniqueFd file(
      ::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640));
  if (!file) return fail_errno(path);
  const std::string line = text + "\n";
  if (::write(file.get(), line.data(), line.size()) != static_cast<ssize_t>(line.size()))
    return fail_errno(path);
  return {};
}

int syslog_priority(const ordered_json& message) {
  int priority = LOG_NOTICE;
  for (const ordered_json& incident : message.at("incidents")) {
    if (!incident.at("cleared").is_null()) continue;
    const std::string severity = incident.at("severity").get<std::string>();
    if (severity == "error") return LOG_ERR;
    if (severity == "warning") priority = LOG_WARNING;
  }
  return priority;
}

Result<> log(const ordered_json& message) {
  ::openlog("hotbackup", LOG_PID, LOG_DAEMON);
  ::syslog(syslog_priority(message), "%s", message.at("title").get<std::string>().c_str());
  return {};
}

}  // namespace

std::string name_of(const std::string& to) {
  std::string name = to.substr(0, 80);
  if (const auto host = to.find("://"); host != std::string::npos) {
    const std::size_t path = to.find('/', host + 3);
    const std::size_t user = to.substr(0, path).rfind('@');  // and a password
    const std::size_t from = user == std::string::npos ? host + 3 : user + 1;
    name = to.substr(0, host + 3) + to.substr(from, std::min<std::size_t>(path - from, 60));
  }
  return name;
}

Result<> send(const std::string& to, const std::string& message,
              const std::optional<config::Address>& smtp, const std::atomic<bool>& stop) {
  const ordered_json json = ordered_json::parse(message, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return fail(ErrorCode::kCorrupt, "the message is none");
  const auto rest = [&to](std::string_view scheme) { return to.substr(scheme.size()); };
  try {
    if (to.starts_with("mailto:")) return mail(rest("mailto:"), json, smtp, stop);
    if (to.starts_with("exec:")) return execute(rest("exec:"), json, message, stop);
    if (to.starts_with("file:")) return append(rest("file:"), message);
    if (to.starts_with("syslog:")) return log(json);
    return post(to, message, stop);
  } catch (const ordered_json::exception& error) {
    return fail(ErrorCode::kCorrupt, std::string("the message: ") + error.what());
  }
}

}  // namespace hotbackup::people
