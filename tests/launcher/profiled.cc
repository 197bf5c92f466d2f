// A program that writes a heap profile of its own making: real stacks of known functions, counts as given here.
//
// Usage: profiled OUTPUT PERIOD [LIBRARY [close]]     profiled_library.cc as LIBRARY is called too, and unloaded on
// "close"
//
// The period is in bytes; samples are the same for every period. Compiled in several ways by prof_test.py, which knows
// the functions and the counts by name.
#include "profiled.h"

#include <dlfcn.h>
#include <elf.h>
#include <execinfo.h>
#include <link.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <vector>

namespace {

struct Site {
  Counts counts;
  std::vector<void*> stack;
};

std::vector<Site> sites;

// The last arguments keep the compiler from making a jump of the call.
__attribute__((noinline)) int record(const Counts& counts) {
  void* stack[64];
  const int depth = backtrace(stack, 64);
  sites.push_back({counts, std::vector<void*>(stack + 1, stack + depth)});
  return static_cast<int>(sites.size());
}

std::string build_id_at(uintptr_t address) {
  struct Search {
    uintptr_t address;
    std::string id;
  } search = {address, {}};
  dl_iterate_phdr(
      [](dl_phdr_info* module, size_t, void* data) {
        auto& wanted = *static_cast<Search*>(data);
        const char* notes = nullptr;
        size_t left = 0;
        bool here = false;
        for (int i = 0; i < module->dlpi_phnum; ++i) {
          const ElfW(Phdr)& segment = module->dlpi_phdr[i];
          const uintptr_t start = module->dlpi_addr + segment.p_vaddr;
          if (segment.p_type == PT_LOAD && wanted.address - start < segment.p_memsz) here = true;
          if (segment.p_type != PT_NOTE) continue;
          for (size_t at = 0; at < segment.p_memsz;) {
            const auto* note = reinterpret_cast<const ElfW(Nhdr)*>(start + at);
            if (note->n_type == NT_GNU_BUILD_ID) {
              notes = reinterpret_cast<const char*>(note + 1) + ((note->n_namesz + 3) & ~3u);
              left = note->n_descsz;
            }
            at += sizeof *note + ((note->n_namesz + 3) & ~3u) + ((note->n_descsz + 3) & ~3u);
          }
        }
        if (!here) return 0;
        char digits[3];
        for (size_t i = 0; i < left; ++i) {
          std::snprintf(digits, sizeof digits, "%02x", static_cast<unsigned char>(notes[i]));
          wanted.id += digits;
        }
        return 1;
      },
      &search);
  return search.id.empty() ? "-" : search.id;
}

// The lines for code whose file's path ends like this; with "", of all files.
std::string mappings(const std::string& ending, const char* state) {
  std::string lines;
  FILE* maps = std::fopen("/proc/self/maps", "r");
  char line[4096];
  while (maps != nullptr && std::fgets(line, sizeof line, maps) != nullptr) {
    unsigned long start, end, offset;
    char flags[5];
    int path = 0;
    if (std::sscanf(line, "%lx-%lx %4s %lx %*s %*s %n", &start, &end, flags, &offset, &path) < 4) continue;
    std::string name = line + path;
    while (!name.empty() && name.back() == '\n') name.pop_back();
    if (flags[2] != 'x' || name.empty()) continue;
    if (name.size() < ending.size() || name.compare(name.size() - ending.size(), ending.size(), ending) != 0) continue;
    char text[256];
    std::snprintf(text, sizeof text, "mapping %lx %lx %lx ", start, end, offset);
    lines += text + build_id_at(start) + " " + state + " " + name + "\n";
  }
  if (maps != nullptr) std::fclose(maps);
  return lines;
}

namespace shop {

// Inlined into its caller, but a function of its own to the reader.
__attribute__((always_inline)) inline int fill_shelf(const Counts& counts) { return record(counts) + 1; }

__attribute__((noinline)) int open_store() {
  int sum = fill_shelf({1024, 200, 100, 150, 20, {10, 20, 30, 40, 0, 0, 0, 0}});
  sum += fill_shelf({1048576, 8, 4, 6, 0, {0, 0, 0, 0, 4, 0, 0, 0}});
  return sum;
}

struct Leaky {
  __attribute__((noinline)) static int forget() {
    return record({65536, 300, 300, 290, 0, {5, 20, 75, 50, 100, 50, 0, 0}}) + 1;
  }
};

// Twice on its stack, and must count once. What follows the inner call keeps the compiler from making a loop of it.
__attribute__((noinline)) int descend(int depth) {
  const int result = depth == 0 ? record({512, 64, 0, 0, 64, {0, 0, 0, 0, 0, 0, 0, 0}}) : descend(depth - 1);
  asm volatile("");
  return result + 1;
}

}  // namespace shop

}  // namespace

int main(int count, char** words) {
  if (count < 3) return 2;
  static volatile int sum;
  sum = shop::open_store() + shop::Leaky::forget() + shop::descend(1);

  std::string gone;
  if (count > 3) {
    void* library = dlopen(words[3], RTLD_NOW);
    if (library == nullptr) return std::fprintf(stderr, "%s\n", dlerror()), 1;
    const auto enter = reinterpret_cast<int (*)(int (*)(const Counts&))>(dlsym(library, "enter_library"));
    sum = sum + enter(record);
    if (count > 4) {
      gone = mappings(std::strrchr(words[3], '/'), "gone");
      dlclose(library);
    }
  }

  char program[4096] = {};
  if (readlink("/proc/self/exe", program, sizeof program - 1) < 0) return 1;
  FILE* out = std::fopen(words[1], "w");
  if (out == nullptr) return 1;
  const long now = std::time(nullptr);
  std::fprintf(out, "poolmalloc-profile 1\nprocess %d %ld %s\ntaken %ld.250\nstarted %ld.000\nperiod %s\ndropped 3\n",
               getpid(), now - 7300, program, now, now - 7200, words[2]);
  std::fprintf(out, "%s%s", mappings("", "here").c_str(), gone.c_str());
  for (size_t i = 0; i < sites.size(); ++i) {
    const Counts& counts = sites[i].counts;
    std::fprintf(out, "site %zu %lu %lu %lu %lu %lu age", i, counts.size, counts.allocated, counts.live, counts.peak,
                 counts.temporary);
    for (unsigned long age : counts.ages) std::fprintf(out, " %lu", age);
    std::fprintf(out, " stack");
    for (void* address : sites[i].stack) std::fprintf(out, " %lx", reinterpret_cast<unsigned long>(address));
    std::fprintf(out, "\n");
  }
  std::fprintf(out, "end %zu\n", sites.size());
  return std::fclose(out) == 0 ? 0 : 1;
}
