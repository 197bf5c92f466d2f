// Numbers as people read them.
#ifndef POOLMALLOC_PRELOAD_LAUNCHER_UNITS_H_
#define POOLMALLOC_PRELOAD_LAUNCHER_UNITS_H_

#include <cstdint>
#include <string>

namespace pm {

std::string bytes_text(uint64_t bytes);                   // 12.3 MiB
std::string grouped_text(uint64_t number);                // 1,234,567
std::string duration_text(uint64_t seconds);              // 12 s, 3 min 4 s, 2 h 5 min, 3 d 4 h
std::string percent_text(uint64_t part, uint64_t whole);  // 63 %; "-" of nothing
std::string time_text(uint64_t unix_seconds);             // 2026-01-31 12:34:56, local time

// What a terminal must not be sent taken out: a process may call itself anything.
std::string printable(const std::string& text);

}  // namespace pm

#endif  // POOLMALLOC_PRELOAD_LAUNCHER_UNITS_H_
