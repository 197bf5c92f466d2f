#include "runtime/control.h"

#include <cerrno>

#include "heap/heap.h"
#include "metrics/events.h"
#include "os/files.h"
#include "os/process.h"
#include "page/page.h"
#include "profile/dump.h"
#include "profile/profile.h"
#include "reclaim/executor.h"
#include "runtime/live_options.h"
#include "runtime/runtime.h"
#include "slab/slab.h"

namespace pm {
namespace {

// Some milliseconds; nobody waits for more.
constexpr uint64_t kSliceBytes = 64 * kMiB;

// Text for one line, whatever an option's value holds.
void write_plain(const char* data, size_t size, TextWriter& out) {
  for (size_t i = 0; i < size; ++i) out.character(data[i] >= ' ' && data[i] <= '~' ? data[i] : '?');
}

// NAME default|changed start|live VALUE
void write_row(const Options& options, size_t index, TextWriter& out) {
  out.text(kOptionInfo[index].name).text(is_default_option(options, index) ? " default " : " changed ");
  out.text(kOptionInfo[index].when == OptionWhen::live ? "live " : "start ");
  char buffer[kMaxTextLength + 1 + kMaxListLength * 8];
  TextWriter value(buffer);
  write_option(options, index, value);
  write_plain(value.data(), value.size(), out);
  out.character('\n');
}

bool answer_ping(TextWriter& reply) {
  reply.text("ok poolmalloc " POOLMALLOC_VERSION " pid ").number(static_cast<unsigned>(os::process_id())).text("\n");
  return true;
}

bool answer_options(TextWriter& reply) {
  Options now;
  options_now(now);
  reply.text("ok\n");
  for (size_t i = 0; i < kOptionCount; ++i) write_row(now, i, reply);
  return true;
}

bool answer_get(const Request& request, TextWriter& reply) {
  const int index = find_option(request.argument, request.argument_size);
  if (index < 0) {
    reply.text("error ").text(request.argument).text(" is not an option\n");
    return true;
  }
  Options now;
  options_now(now);
  reply.text("ok\n");
  write_row(now, static_cast<size_t>(index), reply);
  return true;
}

bool answer_set(const Request& request, TextWriter& reply) {
  size_t name_size = 0;
  while (name_size < request.argument_size && request.argument[name_size] != '=') ++name_size;
  if (name_size == request.argument_size) {
    reply.text("error ").text(request.argument).text(" is not NAME=VALUE\n");
    return true;
  }
  char buffer[256];
  TextWriter reason(buffer);
  if (change_option_now(request.argument, name_size, request.argument + name_size + 1, reason) != 0) {
    reply.text("error ").text(request.argument).text(" ").text(reason.data(), reason.size()).text("\n");
    return true;
  }
  Options now;
  options_now(now);
  reply.text("ok\n");
  write_row(now, static_cast<size_t>(find_option(request.argument, name_size)), reply);
  return true;
}

enum TrimStage : unsigned { kBegin, kPages, kDense, kSlabs, kEnd };

// Up to a slice of what is wanted and was there at the beginning; the stage is over when that was less.
void trim_pages(ControlJob& job, TrimScope scope) {
  const uint64_t most = job.wanted < job.present ? job.wanted : job.present;
  const uint64_t left = most > job.done ? most - job.done : 0;
  const uint64_t goal = left < kSliceBytes ? left : kSliceBytes;
  const uint64_t given = page_trim(goal, scope);
  job.done += given;
  if (given < kSliceBytes) ++job.stage;
}

// As pm_trim, in slices: what other threads free meanwhile is not waited for.
bool answer_trim(ControlJob& job, TextWriter& reply) {
  switch (job.stage) {
    case kBegin: {
      job.wanted = UINT64_MAX;
      if (job.request.argument_size != 0 && !parse_bytes(job.request.argument, job.wanted)) {
        reply.text("error ").text(job.request.argument).text(" is not a number of bytes\n");
        return true;
      }
      empty_caches();
      const DirtyFigures dirty = page_dirty();
      job.present = dirty.block_bytes + dirty.run_bytes;
      ++job.stage;
      break;
    }
    case kPages: trim_pages(job, TrimScope::everything); break;
    case kDense: trim_pages(job, TrimScope::even_dense); break;
    default:
      if (job.done < job.wanted) job.done += slab_decommit(job.wanted - job.done);
      job.stage = kEnd;
  }
  if (job.stage != kEnd) return false;
  count_released(Reason::requested, job.done);
  record_event(EventKind::trim, job.done);
  reply.text("ok ").number(job.done).text("\n");
  return true;
}

// Bytes between samples, where the request does not say.
constexpr uint64_t kUsualPeriod = 512 * kKiB;

bool reply_error(const char* why, TextWriter& reply) {
  reply.text("error ").text(why).text("\n");
  return true;
}

bool answer_profile_start(const Request& request, TextWriter& reply) {
  uint64_t period = kUsualPeriod;
  if (request.argument_size != 0 && !parse_bytes(request.argument, period)) {
    reply.text("error ").text(request.argument).text(" is not a number of bytes\n");
    return true;
  }
  switch (profile_start(period)) {
    case 0: break;
    case -EALREADY: return reply_error("a profile is being taken already", reply);
    case -EINVAL: return reply_error("a period is 1 byte to 1 TiB", reply);
    default: return reply_error("there is no memory for a profile", reply);
  }
  reply.text("ok samples one allocation in ").number(period).text(" bytes\n");
  return true;
}

bool answer_profile_stop(TextWriter& reply) {
  if (profile_stop() != 0) return reply_error("no profile is being taken", reply);
  reply.text("ok what was counted can still be dumped\n");
  return true;
}

// A pipe or a socket could make the worker wait for whoever reads it.
bool answer_profile_dump(const ControlJob& job, TextWriter& reply) {
  if (job.file < 0 || os::files().identify(os::files().context, job.file).kind != os::FileKind::regular)
    return reply_error("prof dump needs a regular file", reply);
  switch (profile_dump(job.file)) {
    case 0: break;
    case -ESRCH: return reply_error("no profile was started: poolmalloc prof start", reply);
    case -EBUSY: return reply_error("the profile is being written by another thread", reply);
    default: return reply_error("the profile could not be written", reply);
  }
  reply.text("ok\n");
  return true;
}

}  // namespace

bool answer_control(ControlJob& job, TextWriter& reply) {
  switch (job.request.verb) {
    case Verb::ping: return answer_ping(reply);
    case Verb::trim: return answer_trim(job, reply);
    case Verb::set: return answer_set(job.request, reply);
    case Verb::get: return answer_get(job.request, reply);
    case Verb::options: return answer_options(reply);
    case Verb::profile_start: return answer_profile_start(job.request, reply);
    case Verb::profile_stop: return answer_profile_stop(reply);
    case Verb::profile_dump: return answer_profile_dump(job, reply);
  }
  return true;
}

}  // namespace pm
