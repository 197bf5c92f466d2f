#include <link.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>

#include <algorithm>
#include <cinttypes>
#include <climits>
#include <string>
#include <vector>

#include "../workloads/harness.h"
#include "counters.h"
#include "note.h"

namespace bench {
namespace {

struct Instruction {
  uintptr_t address;
  uintptr_t copy;
  int64_t displacement;
  int8_t base, index;  // numbers in the ucontext, -1 for none; base kRip
  uint8_t scale;
  uint8_t first;  // byte that the breakpoint replaces
  bool known;     // the address can be told
};
constexpr int8_t kRip = REG_RIP;
constexpr size_t kSlot = 32;  // an instruction has at most 15 bytes, the jump behind it 14

std::vector<Instruction> instructions;  // by address

void on_trap(int, siginfo_t*, void* context) {
  greg_t* const registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  const auto address = static_cast<uintptr_t>(registers[REG_RIP]) - 1;
  const auto found = std::lower_bound(instructions.begin(), instructions.end(), address,
                                      [](const Instruction& one, uintptr_t wanted) { return one.address < wanted; });
  if (found == instructions.end() || found->address != address) abort();
  int64_t target = found->displacement;
  if (found->base == kRip) {
    target += static_cast<int64_t>(found->address);
  } else if (found->base >= 0) {
    target += registers[found->base];
  }
  if (found->index >= 0) target += registers[found->index] * found->scale;
  note_locked(found->known, static_cast<uintptr_t>(target));
  registers[REG_RIP] = static_cast<greg_t>(found->copy);
}

std::string real_path(const char* path) {
  char resolved[PATH_MAX];
  return realpath(path, resolved) != nullptr ? resolved : path;
}

struct Library {
  std::string path;
  uintptr_t bias, start, end;
};

std::vector<Library> libraries() {
  std::vector<Library> found;
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* out) {
        if (info->dlpi_name == nullptr || info->dlpi_name[0] != '/') return 0;  // the program and the vdso
        Library one = {real_path(info->dlpi_name), info->dlpi_addr, UINTPTR_MAX, 0};
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          const ElfW(Phdr)& part = info->dlpi_phdr[i];
          if (part.p_type != PT_LOAD) continue;
          one.start = std::min<uintptr_t>(one.start, one.bias + part.p_vaddr);
          one.end = std::max<uintptr_t>(one.end, one.bias + part.p_vaddr + part.p_memsz);
        }
        static_cast<std::vector<Library>*>(out)->push_back(one);
        return 0;
      },
      &found);
  return found;
}

// Memory near enough for 32-bit distances to all of the library.
uint8_t* memory_near(const Library& library, size_t bytes) {
  constexpr uintptr_t kStep = uintptr_t{1} << 20;
  for (uintptr_t distance = kStep; distance < uintptr_t{1800} << 20; distance += kStep) {
    for (const uintptr_t place : {library.start - distance, library.end + distance}) {
      void* const wanted = reinterpret_cast<void*>(place & ~(kStep - 1));
      void* const got = mmap(wanted, bytes, PROT_READ | PROT_WRITE | PROT_EXEC,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
      if (got == wanted) return static_cast<uint8_t*>(got);
      if (got != MAP_FAILED) munmap(got, bytes);
    }
  }
  check(false, "finding memory near a library");
  return nullptr;
}

int8_t register_named(const char* name) {
  constexpr struct {
    const char* name;
    int8_t number;
  } kRegisters[] = {{"rax", REG_RAX}, {"rbx", REG_RBX}, {"rcx", REG_RCX}, {"rdx", REG_RDX}, {"rsi", REG_RSI},
                    {"rdi", REG_RDI}, {"rbp", REG_RBP}, {"rsp", REG_RSP}, {"r8", REG_R8},   {"r9", REG_R9},
                    {"r10", REG_R10}, {"r11", REG_R11}, {"r12", REG_R12}, {"r13", REG_R13}, {"r14", REG_R14},
                    {"r15", REG_R15}, {"rip", kRip}};
  for (const auto& one : kRegisters) {
    if (std::strcmp(one.name, name) == 0) return one.number;
  }
  check(std::strcmp(name, "-") == 0, "knowing a register");
  return -1;
}

// The instruction at `address` into `slot`, followed by a jump to what comes after it.
void copy_out(const uint8_t* address, size_t length, long rip_at, uint8_t* slot) {
  std::memcpy(slot, address, length);
  if (rip_at >= 0) {
    int32_t distance;
    std::memcpy(&distance, slot + rip_at, sizeof distance);
    const int64_t moved = distance + (address - slot);
    check(moved == static_cast<int32_t>(moved), "moving an instruction");
    distance = static_cast<int32_t>(moved);
    std::memcpy(slot + rip_at, &distance, sizeof distance);
  }
  constexpr uint8_t kJump[] = {0xff, 0x25, 0, 0, 0, 0};
  std::memcpy(slot + length, kJump, sizeof kJump);
  const uint8_t* const next = address + length;
  std::memcpy(slot + length + sizeof kJump, &next, sizeof next);
}

// Of the text alone: the other parts keep their protection.
void set_writable(bool writable) {
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* more) {
        if (info->dlpi_name == nullptr || info->dlpi_name[0] != '/') return 0;
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          const ElfW(Phdr)& part = info->dlpi_phdr[i];
          if (part.p_type != PT_LOAD || (part.p_flags & PF_X) == 0) continue;
          const uintptr_t start = (info->dlpi_addr + part.p_vaddr) & ~uintptr_t{4095};
          const uintptr_t end = info->dlpi_addr + part.p_vaddr + part.p_memsz;
          const int protection = PROT_READ | PROT_EXEC | (*static_cast<bool*>(more) ? PROT_WRITE : 0);
          const long answer =
              own_system_call(SYS_mprotect, static_cast<long>(start), static_cast<long>(end - start), protection);
          check(answer == 0, "mprotect of text");
        }
        return 0;
      },
      &writable);
}

}  // namespace

void print_libraries() {
  for (const Library& library : libraries()) std::printf("%s\n", library.path.c_str());
}

void arm_locked(const char* list) {
  FILE* const file = std::fopen(list, "r");
  check(file != nullptr, "opening the list of instructions");
  const std::vector<Library> loaded = libraries();
  const Library* library = nullptr;
  uint8_t* slot = nullptr;
  char line[PATH_MAX + 64];
  while (std::fgets(line, sizeof line, file) != nullptr) {
    line[std::strcspn(line, "\n")] = '\0';
    size_t count = 0;
    int path_at = 0;
    if (std::sscanf(line, "library %zu %n", &count, &path_at) == 1) {
      const auto found =
          std::find_if(loaded.begin(), loaded.end(), [&](const Library& one) { return one.path == line + path_at; });
      check(found != loaded.end(), "finding a library of the list");
      library = &*found;
      slot = memory_near(*library, count * kSlot + 1);
      continue;
    }
    uintptr_t offset = 0;
    size_t length = 0;
    long rip_at = -1;
    char base[8], index[8];
    unsigned scale = 0;
    Instruction one = {};
    int known = 0;
    check(std::sscanf(line, "%" SCNxPTR " %zu %ld %7s %7s %u %" SCNd64 " %d", &offset, &length, &rip_at, base, index,
                      &scale, &one.displacement, &known) == 8 &&
              library != nullptr && length + 14 <= kSlot,
          "reading the list of instructions");
    one.address = library->bias + offset;
    one.copy = reinterpret_cast<uintptr_t>(slot);
    one.base = register_named(base);
    one.index = register_named(index);
    one.scale = static_cast<uint8_t>(scale);
    one.known = known != 0;
    if (one.base == kRip) one.displacement += static_cast<int64_t>(length);
    one.first = *reinterpret_cast<const uint8_t*>(one.address);
    copy_out(reinterpret_cast<const uint8_t*>(one.address), length, rip_at, slot);
    slot += kSlot;
    instructions.push_back(one);
  }
  std::fclose(file);
  std::sort(instructions.begin(), instructions.end(),
            [](const Instruction& a, const Instruction& b) { return a.address < b.address; });
  handle(SIGTRAP, on_trap);
  // From the first breakpoint on, every call may trap; that is all right, for the table is complete.
  set_writable(true);
  for (const Instruction& one : instructions) *reinterpret_cast<volatile uint8_t*>(one.address) = 0xcc;
  set_writable(false);
}

void disarm_locked() {
  set_writable(true);
  for (const Instruction& one : instructions) *reinterpret_cast<volatile uint8_t*>(one.address) = one.first;
  set_writable(false);
}

}  // namespace bench
