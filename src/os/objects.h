// The loaded objects (program, libraries) of this process, and what unwinding a stack needs of them.
//
// find_object takes no lock and allocates nothing: glibc keeps a sorted list that is read beside dlopen and dlclose
// (_dl_find_object, glibc 2.35). Usable in signal handlers, inside dlopen and in a forked child.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pm::os {

struct ObjectRange {
  uintptr_t start;
  uintptr_t end;
  const void* frame_table;  // .eh_frame_hdr, or nullptr
  const char* name;         // as the dynamic linker has it; "" for the program
};

// The object that covers an address of code. False if there is none, or the C library does not tell.
bool find_object(uintptr_t address, ObjectRange& out);

// Addresses of the program's code and of the C library's; 0 if not known.
uintptr_t program_entry();
uintptr_t libc_address();

inline constexpr size_t kMostBuildId = 32;

// What a profile must know of an object to find its symbols later.
struct ObjectCode {
  uintptr_t start;  // of the segment that holds `address`, whole pages
  uintptr_t end;
  uint64_t file_offset;
  uint32_t build_id_bytes;  // 0: it has none
  uint8_t build_id[kMostBuildId];
};

// Reads the headers of an object that is mapped at [start, end) and cannot go meanwhile: its code is on the caller's
// stack. False if it has none in memory or no segment covers the address.
bool describe_code(const ObjectRange& object, uintptr_t address, ObjectCode& out);

// The build id of the file that is mapped from `start` on, its beginning first; read through the kernel, so that it
// may be unmapped at any time. Its length, 0 if it has none.
size_t read_build_id(uintptr_t start, uint8_t (&out)[kMostBuildId]);

// Whether the 8 bytes at an aligned address can be read. A system call (rt_sigprocmask, which looks at its argument
// before it refuses the request), known to every sandbox that lets threads run.
bool is_readable(uintptr_t address);

// Where an unwinding begins: its caller's caller is found by the rules for this very address.
struct FrameStart {
  uintptr_t pc;
  uintptr_t stack;
  uintptr_t frame;
};
__attribute__((always_inline)) inline FrameStart frame_here() {
  FrameStart out;
#if defined(__x86_64__)
  asm volatile("leaq 0(%%rip), %0\n  movq %%rsp, %1\n  movq %%rbp, %2"
               : "=r"(out.pc), "=r"(out.stack), "=r"(out.frame));
#elif defined(__aarch64__)
  asm volatile("adr %0, .\n  mov %1, sp\n  mov %2, x29" : "=r"(out.pc), "=r"(out.stack), "=r"(out.frame));
#endif
  return out;
}

// DWARF's numbers of the registers that unwinding follows.
#if defined(__aarch64__)
inline constexpr unsigned kFrameRegister = 29;
inline constexpr unsigned kStackRegister = 31;
inline constexpr unsigned kReturnRegister = 30;
#else
inline constexpr unsigned kFrameRegister = 6;
inline constexpr unsigned kStackRegister = 7;
inline constexpr unsigned kReturnRegister = 16;
#endif

}  // namespace pm::os
