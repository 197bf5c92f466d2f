// What a process published over a while: in memory, and as a file of lines that `record` writes and `report` reads.
//
// The file. The first line is the head: the format's number, what process it was, and the names of the metrics in the
// order of the numbers that follow. Then a line for each sample, for each event, and one for what doctor and advise
// said last. The last line says that it is whole, and how many there were. All of it is JSON, in UTF-8.
//
// Another version's recording can be read if it has every metric that this one knows; further ones are passed over.
#ifndef POOLMALLOC_PRELOAD_LAUNCHER_RECORDING_H_
#define POOLMALLOC_PRELOAD_LAUNCHER_RECORDING_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "metrics/page.h"
#include "preload/launcher/advise.h"
#include "preload/launcher/doctor.h"

namespace pm {

inline constexpr uint64_t kRecordingFormat = 1;
// Memory stays bounded however long the recording: at this many, of each two neighbours one is dropped, the one with
// less resident memory, and samples are taken half as often from then on.
inline constexpr size_t kMostSamples = 3600;
inline constexpr size_t kMostEvents = 20000;  // the last ones

struct Sample {
  uint64_t time_ms;  // since 1970
  Snapshot snapshot;
};

// What doctor and advise said.
struct Examination {
  std::vector<Finding> findings;
  std::vector<Advice> advices;
  std::vector<Share> shares;
  uint64_t resident_bytes = 0;  // that the shares are of
};

struct Recording {
  // "pid", "program", "version", "library", "mode", "fit", "started", "options"
  nlohmann::ordered_json about = nlohmann::ordered_json::object();
  uint64_t every_ms = 0;
  std::string end;  // why it ended: "time", "interrupted" or "process ended"
  std::vector<Sample> samples;
  std::vector<nlohmann::ordered_json> events;  // as event_json (page_json.h) writes them, the oldest first
  bool events_missed = false;                  // more happened between two looks than a page keeps
  Examination examination;
};

// Adds a sample, and thins them out if there are too many; true if so.
bool add_sample(Recording& recording, const Sample& sample);

std::string write_recording(const Recording& recording, const std::string& version);
// False if the text is not a whole recording that can be read; `error` says why, to stand after the file's name.
bool parse_recording(std::string_view text, Recording& recording, std::string& error);

// {"findings", "advice", "resident_bytes", "resident"}.
nlohmann::ordered_json examination_json(const Examination& examination);

const char* severity_name(Severity severity);

}  // namespace pm

#endif  // POOLMALLOC_PRELOAD_LAUNCHER_RECORDING_H_
