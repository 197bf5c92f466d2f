#include "preload/launcher/doctor.h"

#include <unistd.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "preload/launcher/output_file.h"
#include "preload/launcher/target.h"
#include "preload/launcher/units.h"

namespace pm {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kTerminalWidth = 100;

const char* word_for(Severity severity) {
  switch (severity) {
    case Severity::fine: return "fine";
    case Severity::note: return "note";
    case Severity::warning: return "warning";
    case Severity::problem: return "PROBLEM";
  }
  return "";
}

// The text in lines, the first after `first`, the others indented as far.
std::string wrapped(const std::string& first, const std::string& text) {
  std::string out;
  std::string line = first;
  size_t start = 0;
  while (start < text.size()) {
    const size_t end = std::min(text.find(' ', start), text.size());
    if (line.size() > first.size() && line.size() + end - start + 1 > kTerminalWidth) {
      out += line + "\n";
      line = std::string(first.size(), ' ');
    }
    line += (line.size() > first.size() ? " " : "") + text.substr(start, end - start);
    start = end + 1;
  }
  return out + line + "\n";
}

std::string padded(std::string text, size_t width) {
  text.resize(std::max(text.size(), width), ' ');
  return text;
}

std::string findings_text(std::vector<Finding> findings) {
  std::stable_sort(findings.begin(), findings.end(),
                   [](const Finding& a, const Finding& b) { return a.severity > b.severity; });
  std::string text;
  for (const Finding& finding : findings) {
    text += wrapped("  " + padded(word_for(finding.severity), 9) + padded(finding.about, 16), finding.what);
    if (!finding.remedy.empty()) text += wrapped(std::string(27, ' ') + "-> ", finding.remedy);
  }
  return text;
}

std::string split_text(const std::vector<Share>& shares, uint64_t resident) {
  std::string text = "\nWhere the " + bytes_text(resident) + " of resident memory are:\n";
  for (const Share& share : shares) {
    text += wrapped("  " + padded(share.name, 16) + padded(bytes_text(share.bytes), 12) +
                        padded(percent_text(share.bytes, resident), 7),
                    share.meaning);
  }
  return text;
}

Json findings_json(const std::vector<Finding>& findings) {
  Json list = Json::array();
  for (const Finding& f : findings) {
    list.push_back({{"severity", f.severity == Severity::problem ? "problem" : word_for(f.severity)},
                    {"about", f.about},
                    {"what", f.what},
                    {"remedy", f.remedy}});
  }
  return list;
}

bool has_problem(const std::vector<Finding>& findings) {
  return std::any_of(findings.begin(), findings.end(),
                     [](const Finding& f) { return f.severity == Severity::problem; });
}

}  // namespace

int print_examination(std::optional<pid_t> pid, bool as_json) {
  const MachineFacts machine = read_machine();
  const std::vector<Finding> of_machine = examine_machine(machine);
  Json json = {{"machine", findings_json(of_machine)}};
  std::string text = "This machine\n" + findings_text(of_machine);
  bool problem = has_problem(of_machine);
  if (pid) {
    const std::optional<Target> target = choose_process(pid);
    if (!target) return 1;
    const auto body = std::make_unique<PageBody>();
    const bool published = target->state == TargetState::published && read_page(*target, *body);
    const PageBody* const page = published ? body.get() : nullptr;
    const ProcessFacts process =
        read_process(*pid, published ? page->stamp.heap_begin : 0, published ? page->stamp.heap_end : 0);
    const std::vector<Finding> findings = examine_process(process, machine, page);
    problem = problem || has_problem(findings);
    text += "\n" + printable(process.program) + " (pid " + std::to_string(*pid) + ")\n" + findings_text(findings);
    json["process"] = {{"pid", *pid}, {"program", process.program}, {"findings", findings_json(findings)}};
    if (published) {
      const std::vector<Share> shares = split_resident(process, *page);
      text += split_text(shares, page->snapshot.resident_bytes);
      Json rows = Json::object();
      for (const Share& share : shares) rows[share.name] = share.bytes;
      json["process"]["resident_bytes"] = page->snapshot.resident_bytes;
      json["process"]["resident"] = rows;
    } else if (!target->complaint.empty()) {
      text += "\n" + target->complaint + "\n";
    }
  }
  return print_output(as_json ? json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n" : text,
                      problem ? kProblemFound : 0);
}

}  // namespace pm
