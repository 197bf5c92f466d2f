// What every workload shares: arguments, clock, random numbers, and the one line of JSON it prints.
//
// A workload is run under LD_PRELOAD of any allocator, so it uses plain malloc, free and new, and the harness itself
// takes no memory between start and stop of the clock. The same seed gives the same sequence of calls on every machine.
#pragma once

#include <fcntl.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#include <bit>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

namespace bench {

// Tells the compiler that somebody may read and write *pointer, so that neither the allocation nor the stores into it
// are removed.
inline void keep(const void* pointer) { asm volatile("" : : "g"(pointer) : "memory"); }

inline void check(bool good, const char* what) {
  if (good) return;
  std::fprintf(stderr, "bench: %s failed\n", what);
  std::exit(1);
}

// Resident memory of this process in KiB; read without stdio, which would take a buffer from the heap it asks about.
inline double resident_kib() {
  char text[128] = {};
  const int file = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  check(file >= 0 && read(file, text, sizeof text - 1) > 0, "reading /proc/self/statm");
  close(file);
  unsigned long mapped = 0;
  unsigned long resident = 0;
  check(std::sscanf(text, "%lu %lu", &mapped, &resident) == 2, "reading /proc/self/statm");
  return static_cast<double>(resident) * static_cast<double>(sysconf(_SC_PAGESIZE)) / 1024;
}

inline void* take(size_t size) {
  void* pointer = std::malloc(size);
  if (pointer == nullptr) check(false, "malloc");
  keep(pointer);
  return pointer;
}

// Allocates and writes the first word, as nearly every program does with a new object.
inline void* take_and_write(size_t size, uint64_t word) {
  void* pointer = take(size);
  std::memcpy(pointer, &word, size < sizeof word ? size : sizeof word);
  return pointer;
}

inline void give(void* pointer) {
  keep(pointer);
  std::free(pointer);
}

// xorshift64*: one multiplication per number, so that it costs little beside the calls that are measured.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15u + 0xD1B54A32D192ED03u) {
    if (state_ == 0) state_ = 1;
    for (int i = 0; i < 8; ++i) next();
  }

  uint64_t next() {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return state_ * 0x2545F4914F6CDD1Du;
  }

  // 0 <= result < limit, for limits below 2^32.
  size_t below(size_t limit) { return static_cast<size_t>(((next() >> 32) * limit) >> 32); }

  // low <= result <= high
  size_t between(size_t low, size_t high) { return low + below(high - low + 1); }

  bool one_in(size_t n) { return below(n) == 0; }

  // low <= result < 2 * high, about as many results in each power of two: many small objects and a few big ones.
  size_t log_between(size_t low, size_t high) {
    const size_t first = static_cast<size_t>(std::bit_width(low)) - 1;
    const size_t last = static_cast<size_t>(std::bit_width(high)) - 1;
    const size_t base = size_t{1} << between(first, last);
    const size_t size = base + below(base);
    return size < low ? low : size;
  }

 private:
  uint64_t state_;
};

// Command line and result of one program. Every option a program asks for is also a field of its JSON line, and what
// nobody asked for is an error; so the list of options is written once, where each is used.
class Workload {
 public:
  Workload(const char* name, int argc, char** argv) : name_(name), argc_(argc), argv_(argv) {
    check(argc <= kMostArguments, "reading so many arguments");
    smoke_ = flag("smoke");
    seed_ = static_cast<uint64_t>(number("seed", 1));
    scale_ = number("scale", 1);
  }

  bool smoke() const { return smoke_; }
  uint64_t seed() const { return seed_; }

  bool flag(const char* option) {
    const int at = find(option);
    field(option, at > 0 ? 1 : 0);
    return at > 0;
  }

  // A word of the command line; what is measured is told apart by it, so it is a field as well.
  const char* text(const char* option, const char* fallback) {
    const int at = find(option);
    const char* value = fallback;
    if (at > 0) {
      if (at + 1 >= argc_ || std::strpbrk(argv_[at + 1], "\"\\") != nullptr) {
        std::fprintf(stderr, "%s: --%s needs a word\n", name_, option);
        std::exit(2);
      }
      known_[at + 1] = true;
      value = argv_[at + 1];
    }
    append(fields_, ",\"%s\":\"%s\"", option, value);
    return value;
  }

  double number(const char* option, double fallback) {
    const int at = find(option);
    double value = fallback;
    if (at > 0) {
      char* end = nullptr;
      value = at + 1 < argc_ ? std::strtod(argv_[at + 1], &end) : 0;
      if (end == nullptr || *end != '\0' || end == argv_[at + 1] || value < 0) {
        std::fprintf(stderr, "%s: --%s needs a number\n", name_, option);
        std::exit(2);
      }
      known_[at + 1] = true;
    }
    field(option, value);
    return value;
  }

  size_t count(const char* option, size_t fallback) {
    const double value = number(option, static_cast<double>(fallback));
    if (value < 1) {
      std::fprintf(stderr, "%s: --%s must be at least 1\n", name_, option);
      std::exit(2);
    }
    return static_cast<size_t>(value);
  }

  // How often to do the measured thing: `full` takes one or two seconds with an ordinary allocator.
  size_t scaled(size_t full, size_t smoke) const {
    const double value = smoke_ ? static_cast<double>(smoke) : static_cast<double>(full) * scale_;
    return value < 1 ? 1 : static_cast<size_t>(value);
  }

  void start() {
    for (int i = 1; i < argc_; ++i) {
      if (known_[i]) continue;
      std::fprintf(stderr, "%s: unknown argument %s; options:%s\n", name_, argv_[i], options_);
      std::exit(2);
    }
    start_seconds_ = seconds();
    start_ticks_ = __rdtsc();
  }

  void stop() {
    ticks_ = static_cast<double>(__rdtsc() - start_ticks_);
    seconds_ = seconds() - start_seconds_;
  }

  // One more field of the JSON line.
  void field(const char* key, double value) { append(fields_, ",\"%s\":%.10g", key, value); }

  // What an operation is, each program says at its top; mostly one malloc with its free.
  int report(uint64_t operations) {
    const double ops = static_cast<double>(operations);
    std::printf("{\"workload\":\"%s\"%s,\"ops\":%llu,\"seconds\":%.6f,\"ns_per_op\":%.3f,\"ticks_per_op\":%.3f}\n",
                name_, fields_, static_cast<unsigned long long>(operations), seconds_, seconds_ * 1e9 / ops,
                ticks_ / ops);
    return std::fflush(stdout) == 0 ? 0 : 1;
  }

  double ticks_per_ns() const { return ticks_ / (seconds_ * 1e9); }

 private:
  static constexpr int kMostArguments = 64;

  static double seconds() {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
  }

  int find(const char* option) {
    append(options_, " --%s", option);
    for (int i = 1; i < argc_; ++i) {
      const std::string_view argument = argv_[i];
      if (known_[i] || !argument.starts_with("--") || argument.substr(2) != option) continue;
      known_[i] = true;
      return i;
    }
    return 0;
  }

  template <size_t N>
  [[gnu::format(printf, 2, 3)]] static void append(char (&text)[N], const char* format, ...) {
    const size_t length = std::strlen(text);
    va_list values;
    va_start(values, format);
    const int added = std::vsnprintf(text + length, N - length, format, values);
    va_end(values);
    check(added >= 0 && static_cast<size_t>(added) < N - length, "writing the result line");
  }

  const char* name_;
  int argc_;
  char** argv_;
  bool known_[kMostArguments] = {};
  bool smoke_ = false;
  uint64_t seed_ = 1;
  double scale_ = 1;
  double start_seconds_ = 0;
  double seconds_ = 0;
  uint64_t start_ticks_ = 0;
  double ticks_ = 0;
  char fields_[2048] = {};
  char options_[512] = {};
};

}  // namespace bench
