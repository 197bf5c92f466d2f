// Starting, forking and describing the allocator as a whole: the order of the layers is here and nowhere else.
#pragma once

#include "config/options.h"
#include "metrics/metrics.h"
#include "poolmalloc/poolmalloc.h"
#include "reclaim/engine.h"

namespace pm {

// Reads the environment, once.
void load_options();
// Options as the process started with them; constant after load_options. What may have changed since is in
// runtime/live_options.h.
const Options& options();

enum class Serving : uint8_t { not_started, starting, heap, passthrough };
Serving serving();

// Called by pthread_atfork: locks of all layers, outermost first; released in reverse.
void before_fork();
void after_fork_parent();
void after_fork_child();
// Whether the last before_fork took them.
bool fork_took_locks();

// The rows of the groups Pressure, Forecast and Memory given back.
void collect_pressure(Snapshot& out);

// Fills `out` with the present state. Takes the page layer's locks one by one; allocates nothing.
void collect(Snapshot& out);

PressureOptions pressure_options(const Options& options);
// Hands the options on to the worker and sets the first mark; starts nothing.
void start_pressure(const Options& options);
// What a look found, as the public API tells it.
void describe_pressure(const PressureView& view, pm_forecast& out);

// At load: begins the profile that POOLMALLOC_PROFILE asks for. At exit: writes it and the leaks.
void start_profile();
void write_profile_at_exit();

// The pattern of a file's name with %p replaced by the process id.
void expand_path(const char* pattern, TextWriter& out);
// Where a line at exit goes: a copy of stderr if prepare_report made one, because many programs close theirs.
int report_file();

// At load, so that the report at exit has somewhere to go.
void prepare_report();
// Writes the report that POOLMALLOC_STATS asks for; at exit.
void report_at_exit();

}  // namespace pm
