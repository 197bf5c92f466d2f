#include "preload/launcher/exporter.h"

#include <memory>
#include <string>

#include "tests/catch.h"

namespace {

using pm::PageBody;
using pm::Survey;
using pm::SurveyedProcess;

SurveyedProcess process(pid_t pid, const std::string& program, bool is_read) {
  SurveyedProcess made;
  made.target.pid = pid;
  made.target.program = program;
  made.target.state = is_read ? pm::TargetState::published : pm::TargetState::unpublished;
  made.cgroup = "app.service";
  if (is_read) {
    made.page = std::make_unique<PageBody>();
    made.page->snapshot.live_bytes = static_cast<uint64_t>(pid) * 10;
  }
  return made;
}

size_t count(const std::string& text, const std::string& part) {
  size_t found = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

TEST_CASE("a survey becomes one exposition, each family once") {
  Survey survey;
  survey.processes.push_back(process(1, "a", true));
  survey.processes.push_back(process(2, "b", true));
  survey.processes.push_back(process(3, "c", false));
  survey.forbidden = 4;
  survey.left_out = 5;
  const std::string text = pm::openmetrics_of(survey, 7, 65530);
  CHECK(count(text, "# TYPE poolmalloc_live_bytes gauge\n") == 1);
  CHECK(count(text, "\npoolmalloc_live_bytes{pid=\"1\",program=\"a\",cgroup=\"app.service\"} 10\n") == 1);
  CHECK(count(text, "\npoolmalloc_live_bytes{pid=\"2\",program=\"b\",cgroup=\"app.service\"} 20\n") == 1);
  CHECK(count(text, "\npoolmalloc_live_bytes{") == 2);
  CHECK(count(text, "\npoolmalloc_up{pid=\"3\",program=\"c\",cgroup=\"app.service\"} 0\n") == 1);
  CHECK(count(text, "} 1\n# TYPE poolmalloc_process info\n") == 0);
  CHECK(count(text, "\npoolmalloc_serve_processes{state=\"read\"} 2\n") == 1);
  CHECK(count(text, "\npoolmalloc_serve_processes{state=\"unpublished\"} 1\n") == 1);
  CHECK(count(text, "\npoolmalloc_serve_processes{state=\"forbidden\"} 4\n") == 1);
  CHECK(count(text, "\npoolmalloc_serve_processes{state=\"left_out\"} 5\n") == 1);
  CHECK(count(text, "\npoolmalloc_serve_max_mappings 65530\n") == 1);
  CHECK(count(text, "\npoolmalloc_serve_scrapes_total 7\n") == 1);
  CHECK(count(text, "# EOF") == 1);
  CHECK(text.substr(text.size() - 7) == "\n# EOF\n");
}

TEST_CASE("the older format names counters as their samples") {
  Survey survey;
  survey.processes.push_back(process(1, "a", true));
  const std::string text = pm::plain_metrics(pm::openmetrics_of(survey, 1, 0));
  CHECK(count(text, "# TYPE poolmalloc_allocations_total counter\n# HELP poolmalloc_allocations_total ") == 1);
  CHECK(count(text, "# TYPE poolmalloc_mode_info gauge\n") == 1);
  CHECK(count(text, "# TYPE poolmalloc_live_bytes gauge\n") == 1);
  CHECK(count(text, "# UNIT") == 0);
  CHECK(count(text, "# EOF") == 0);
  CHECK(text.back() == '\n');
}

TEST_CASE("each client gets the format that it reads") {
  CHECK(pm::wants_openmetrics(""));
  CHECK(pm::wants_openmetrics("*/*"));
  CHECK(pm::wants_openmetrics("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"));
  CHECK_FALSE(pm::wants_openmetrics("text/plain"));
  CHECK_FALSE(pm::wants_openmetrics("text/html,application/xhtml+xml,*/*;q=0.8"));
}

TEST_CASE("labels hold whatever a program calls itself") {
  CHECK(pm::quoted_label("redis-server") == "\"redis-server\"");
  CHECK(pm::quoted_label("a\"b\\c") == R"("a\"b\\c")");
  CHECK(pm::quoted_label("a\nb\x7f") == "\"a?b?\"");
  CHECK(pm::quoted_label("\xc3\xa9") == "\"\xc3\xa9\"");
  CHECK(pm::quoted_label("cut \xc3") == "\"cut \xef\xbf\xbd\"");
}

TEST_CASE("control groups are called as people call them") {
  CHECK(pm::memory_cgroup("0::/system.slice/redis.service\n") == "/system.slice/redis.service");
  CHECK(pm::memory_cgroup("5:cpu,cpuacct:/a\n4:memory:/docker/b\n0::/c\n") == "/docker/b");
  CHECK(pm::memory_cgroup("0::/\n").empty());
  CHECK(pm::memory_cgroup("junk").empty());
  CHECK(pm::cgroup_name("/system.slice/redis.service") == "redis.service");
  const std::string id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
  CHECK(pm::cgroup_name("/system.slice/docker-" + id + ".scope") == "0123456789ab");
  CHECK(pm::cgroup_name("/kubepods/burstable/pod1/" + id) == "0123456789ab");
  CHECK(pm::cgroup_name("").empty());
}

}  // namespace
