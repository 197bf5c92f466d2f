#include "preload/launcher/serve.h"

#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <optional>

#include "preload/launcher/embedded.h"
#include "preload/launcher/exporter.h"
#include "preload/launcher/http.h"
#include "preload/launcher/serve_json.h"

namespace pm {
namespace {

constexpr char kJsonType[] = "application/json; charset=utf-8";
constexpr char kProcessPath[] = "/api/process/";

uint64_t max_mappings() {
  uint64_t count = 0;
  std::ifstream("/proc/sys/vm/max_map_count") >> count;
  return count;
}

std::string filled(std::string text, const std::string& mark, const std::string& with) {
  const size_t place = text.find(mark);
  return place == std::string::npos ? text : text.replace(place, mark.size(), with);
}

// One file: the page asks for nothing but the numbers.
std::string make_page() {
  std::string page = filled(kServePage, "@UPLOT_LICENCE@", kUplotLicence);
  page = filled(std::move(page), "@UPLOT_STYLE@", kUplotStyle);
  return filled(std::move(page), "@UPLOT_SCRIPT@", kUplotScript);
}

std::optional<pid_t> pid_in(const std::string& text) {
  pid_t pid = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), pid);
  if (error != std::errc() || end != text.data() + text.size() || pid <= 0) return {};
  return pid;
}

// A page of somewhere else can have a name of its own point to this machine and then read what is served here, with the
// visitor's browser as its arm. Such a request calls us by that name; one of ours by a number or as localhost.
bool is_own_name(const std::string& host) {
  std::string name = host;
  const size_t colon = name.rfind(':');
  if (colon != std::string::npos && name.find(']', colon) == std::string::npos) name.resize(colon);
  if (name.empty() || name == "localhost" || name.front() == '[') return true;
  return name.find_first_not_of("0123456789.") == std::string::npos;
}

class Site {
 public:
  Site(SurveyRequest request, bool is_loopback)
      : surveyor_(std::move(request)), is_loopback_(is_loopback), page_(make_page()) {}

  HttpResponse answer(const HttpRequest& request) {
    if (is_loopback_ && !is_own_name(request.host))
      return {421, "text/plain; charset=utf-8", "this is not " + request.host + "\n"};
    if (request.path == "/") return {200, "text/html; charset=utf-8", page_};
    if (request.path == "/metrics") return metrics(request);
    if (request.path == "/api/processes") return {200, kJsonType, processes_json(surveyor_.look())};
    if (request.path.rfind(kProcessPath, 0) == 0) return process(request.path.substr(sizeof kProcessPath - 1));
    return {404, "text/plain; charset=utf-8",
            "there is nothing here; there are /, /metrics, /api/processes and /api/process/PID\n"};
  }

 private:
  HttpResponse metrics(const HttpRequest& request) {
    std::string text = openmetrics_of(surveyor_.look(), ++scrapes_, max_mappings());
    if (wants_openmetrics(request.accept)) return {200, kOpenMetricsType, std::move(text)};
    return {200, kPlainMetricsType, plain_metrics(text)};
  }

  HttpResponse process(const std::string& text) {
    const std::optional<pid_t> pid = pid_in(text);
    if (!pid) return {400, kJsonType, error_json("that is not the number of a process")};
    const SurveyedProcess* const found = surveyor_.find(*pid);
    if (found == nullptr) return {404, kJsonType, error_json("no process of that number is served here")};
    if (found->page == nullptr) return {404, kJsonType, error_json(found->target.complaint)};
    return {200, kJsonType, process_json(*found)};
  }

  Surveyor surveyor_;
  bool is_loopback_;
  std::string page_;
  uint64_t scrapes_ = 0;
};

int fail(const std::string& why) {
  std::fprintf(stderr, "poolmalloc: %s\n", why.c_str());
  return 1;
}

}  // namespace

int serve(const ServeRequest& request) {
  for (const pid_t pid : request.survey.pids) {
    if (!choose_process(pid)) return 1;
  }
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  sigaddset(&ends, SIGINT);
  sigprocmask(SIG_BLOCK, &ends, nullptr);
  const int stop_fd = signalfd(-1, &ends, SFD_CLOEXEC | SFD_NONBLOCK);
  if (stop_fd < 0) return fail("cannot wait for signals: " + std::string(std::strerror(errno)));

  HttpServer server;
  const std::string complaint = server.listen(request.address);
  if (!complaint.empty()) {
    close(stop_fd);
    return fail(complaint);
  }
  std::fprintf(stderr, "poolmalloc: serving http://%s/ and /metrics, %s\n", server.address().c_str(),
               server.is_loopback() ? "to this machine alone (--listen ADDRESS:PORT opens it to others)"
                                    : "to everybody who can reach it, without a password");
  Site site(request.survey, server.is_loopback());
  server.run([&site](const HttpRequest& one) { return site.answer(one); }, stop_fd);
  close(stop_fd);
  return 0;
}

}  // namespace pm
