#include "counters.h"

#include <dlfcn.h>
#include <link.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>
#include <x86intrin.h>

#include <algorithm>
#include <atomic>
#include <cinttypes>
#include <climits>
#include <string>
#include <vector>

#include "../workloads/harness.h"

#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#define PR_SYS_DISPATCH_ON 1
#define SYSCALL_DISPATCH_FILTER_ALLOW 0
#define SYSCALL_DISPATCH_FILTER_BLOCK 1
#endif

// The only code whose system calls the kernel does not hand back: the program's own, and the return from a handler.
asm(R"(
  .pushsection .text
  .globl bench_own_code, bench_own_code_end, bench_system_call, bench_return
bench_own_code:
bench_system_call:
  mov %rdi, %rax
  mov %rsi, %rdi
  mov %rdx, %rsi
  mov %rcx, %rdx
  mov %r8, %r10
  mov %r9, %r8
  mov 8(%rsp), %r9
  syscall
  ret
bench_return:
  mov $15, %eax
  syscall
  nop
bench_own_code_end:
  .popsection
)");
extern "C" {
long bench_system_call(long, long, long, long, long, long, long);
void bench_return();
extern const char bench_own_code[], bench_own_code_end[];
}

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

struct Thread {
  bool counting;
  char selector;
  uint32_t number;
  Counts counts;
};
thread_local Thread self = {};
std::atomic<uint32_t> threads_seen{0};
bool calls_armed = false;

// Lines that locked instructions wrote: open addressing, entries are never removed. Relaxed throughout: only counts.
struct Line {
  std::atomic<uint64_t> key;
  std::atomic<uint32_t> last_cpu, last_thread;  // plus one
  std::atomic<bool> cpus, threads;
};
constexpr size_t kLines = size_t{1} << 18;
Line lines[kLines];

void note_write(uintptr_t address) {
  const uint64_t key = address / 64;
  unsigned cpu = 0;
  __rdtscp(&cpu);
  cpu = (cpu & 0xfff) + 1;
  for (size_t i = 0, at = key * 0x9E3779B97F4A7C15u >> 46; i < kLines; ++i, at = (at + 1) % kLines) {
    Line& line = lines[at];
    uint64_t found = line.key.load(std::memory_order_relaxed);
    if (found == 0 && line.key.compare_exchange_strong(found, key, std::memory_order_relaxed)) found = key;
    if (found != key) continue;
    const uint32_t cpu_before = line.last_cpu.exchange(cpu, std::memory_order_relaxed);
    const uint32_t thread_before = line.last_thread.exchange(self.number, std::memory_order_relaxed);
    if (cpu_before != 0 && cpu_before != cpu) {
      ++self.counts.moved;
      line.cpus.store(true, std::memory_order_relaxed);
    }
    if (thread_before != 0 && thread_before != self.number) line.threads.store(true, std::memory_order_relaxed);
    return;
  }
  check(false, "counting so many cache lines");
}

void on_trap(int, siginfo_t*, void* context) {
  greg_t* const registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  const auto address = static_cast<uintptr_t>(registers[REG_RIP]) - 1;
  const auto found = std::lower_bound(instructions.begin(), instructions.end(), address,
                                      [](const Instruction& one, uintptr_t wanted) { return one.address < wanted; });
  if (found == instructions.end() || found->address != address) abort();
  if (self.counting) {
    ++self.counts.locked;
    if (found->known) {
      int64_t target = found->displacement;
      if (found->base == kRip)
        target += static_cast<int64_t>(found->address);
      else if (found->base >= 0)
        target += registers[found->base];
      if (found->index >= 0) target += registers[found->index] * found->scale;
      note_write(static_cast<uintptr_t>(target));
    }
  }
  registers[REG_RIP] = static_cast<greg_t>(found->copy);
}

void on_system_call(int, siginfo_t* info, void* context) {
  greg_t* const registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  const long number = info->si_syscall;
  ++self.counts.system_calls;
  if (number >= 0 && number < static_cast<long>(kSystemCalls)) ++self.counts.by_number[number];
  if (number == SYS_futex) {
    const long operation = registers[REG_RSI] & FUTEX_CMD_MASK;
    const bool wakes = operation == FUTEX_WAKE || operation == FUTEX_WAKE_BITSET || operation == FUTEX_WAKE_OP ||
                       operation == FUTEX_UNLOCK_PI;
    ++(wakes ? self.counts.futex_wakes : self.counts.futex_waits);
  }
  registers[REG_RAX] = own_system_call(number, registers[REG_RDI], registers[REG_RSI], registers[REG_RDX],
                                       registers[REG_R10], registers[REG_R8], registers[REG_R9]);
}

void handle(int number, void (*handler)(int, siginfo_t*, void*)) {
  constexpr unsigned long kRestorer = 0x04000000;  // SA_RESTORER, which libc keeps to itself
  struct {
    void (*handler)(int, siginfo_t*, void*);
    unsigned long flags;
    void (*restorer)();
    unsigned long mask;
  } action = {handler, SA_SIGINFO | SA_NODEFER | kRestorer, bench_return, 0};
  check(own_system_call(SYS_rt_sigaction, number, reinterpret_cast<long>(&action), 0, sizeof action.mask) == 0,
        "setting a signal's handler");
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

long own_system_call(long number, long a, long b, long c, long d, long e, long f) {
  return bench_system_call(number, a, b, c, d, e, f);
}

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

void arm_system_calls() {
  handle(SIGSYS, on_system_call);
  calls_armed = true;
}

void begin() {
  self.number = threads_seen.fetch_add(1, std::memory_order_relaxed) + 1;
  self.counting = true;
  if (!calls_armed) return;
  const auto code = reinterpret_cast<long>(bench_own_code);
  check(own_system_call(SYS_prctl, PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, code,
                        bench_own_code_end - bench_own_code, reinterpret_cast<long>(&self.selector)) == 0,
        "having system calls handed back (Linux 5.11)");
  self.selector = SYSCALL_DISPATCH_FILTER_BLOCK;
}

void end(Counts& sum) {
  self.selector = SYSCALL_DISPATCH_FILTER_ALLOW;
  self.counting = false;
  sum = self.counts;
}

SharedLines shared_lines() {
  SharedLines sum = {};
  for (const Line& line : lines) {
    if (line.key.load(std::memory_order_relaxed) == 0) continue;
    ++sum.written;
    sum.by_cpus += line.cpus.load(std::memory_order_relaxed) ? 1 : 0;
    sum.by_threads += line.threads.load(std::memory_order_relaxed) ? 1 : 0;
  }
  return sum;
}

}  // namespace bench
