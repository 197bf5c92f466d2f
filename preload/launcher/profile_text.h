// Heap profiles as text: for flame graphs, for speedscope.app, and as tables for people.
#ifndef POOLMALLOC_PRELOAD_LAUNCHER_PROFILE_TEXT_H_
#define POOLMALLOC_PRELOAD_LAUNCHER_PROFILE_TEXT_H_

#include <string>

#include "preload/launcher/profile_stacks.h"

namespace pm {

struct View {
  Weight weight = Weight::inuse;
  Unit unit = Unit::bytes;
};

// A line for each stack, "main;read;parse 4096": outermost function first, then the amount, which is negative where a
// difference shrank. Stacks of which it rounds to nothing are left out. flamegraph.pl, inferno and others read it.
std::string collapsed_text(const StackProfile& profile, const View& view);

// All weights in both units, as profiles of one file (www.speedscope.app/file-format-schema.json).
std::string speedscope_text(const StackProfile& profile);

// A table of functions, those first that allocated most themselves; `rows` at most, 0 for all.
std::string top_text(const StackProfile& profile, const View& view, size_t rows);
std::string top_json(const StackProfile& profile, const View& view, size_t rows);

// A table of stacks of a difference, those first that grew most, those last that shrank most.
std::string diff_text(const StackProfile& difference, const View& view, size_t rows);
std::string diff_json(const StackProfile& difference, const View& view, size_t rows);

// "3.2 MiB", "-1.5 GiB", "17"; with the error if there is one, "3.2 MiB ± 0.4".
std::string human_amount(double amount, Unit unit);
std::string human_estimate(const Estimate& estimate, Unit unit);

}  // namespace pm

#endif  // POOLMALLOC_PRELOAD_LAUNCHER_PROFILE_TEXT_H_
