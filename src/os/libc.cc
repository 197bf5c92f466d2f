#include "os/libc.h"

#include <elf.h>
#include <link.h>
#include <sys/auxv.h>

#include <atomic>
#include <cstdint>
#include <cstring>

#include "base/compiler.h"

extern "C" {
void __asan_init(void) __attribute__((weak));
void __tsan_init(void) __attribute__((weak));
void __msan_init(void) __attribute__((weak));
void* __interceptor_malloc(size_t) __attribute__((weak));
void __interceptor_free(void*) __attribute__((weak));
void* __interceptor_calloc(size_t, size_t) __attribute__((weak));
void* __interceptor_realloc(void*, size_t) __attribute__((weak));
void* __interceptor_memalign(size_t, size_t) __attribute__((weak));
size_t __interceptor_malloc_usable_size(void*) __attribute__((weak));
}

namespace pm::os {
namespace {

struct Search {
  uintptr_t inside;
  uintptr_t base;
  const ElfW(Dyn) * dynamic;
};

int find_object(dl_phdr_info* info, size_t, void* data) {
  auto* search = static_cast<Search*>(data);
  bool found = false;
  const ElfW(Dyn)* dynamic = nullptr;
  for (unsigned i = 0; i < info->dlpi_phnum; ++i) {
    const ElfW(Phdr)& header = info->dlpi_phdr[i];
    const uintptr_t start = info->dlpi_addr + header.p_vaddr;
    if (header.p_type == PT_LOAD && search->inside - start < header.p_memsz) found = true;
    if (header.p_type == PT_DYNAMIC) dynamic = reinterpret_cast<const ElfW(Dyn)*>(start);
  }
  if (!found) return 0;
  search->base = info->dlpi_addr;
  search->dynamic = dynamic;
  return 1;
}

// Number of symbols by the GNU hash table: one past the last of the highest chain.
uint32_t count_symbols(const uint32_t* table) {
  const uint32_t buckets = table[0];
  const uint32_t first = table[1];
  const uint32_t bloom_words = table[2];
  const uint32_t* bucket = table + 4 + bloom_words * (sizeof(ElfW(Addr)) / 4);
  const uint32_t* chain = bucket + buckets;
  uint32_t last = 0;
  for (uint32_t i = 0; i < buckets; ++i) last = bucket[i] > last ? bucket[i] : last;
  if (last < first) return first;
  while ((chain[last - first] & 1U) == 0) ++last;
  return last + 1;
}

template <typename Function>
void look_up(Function& out, const void* inside, const char* name) {
  out = reinterpret_cast<Function>(find_symbol(inside, name));
}

// Documented in valgrind.h: under Valgrind this sequence of no effect answers a question; elsewhere it keeps rdx.
uint64_t valgrind_depth() {
#if defined(__x86_64__)
  const uint64_t arguments[6] = {0x1001, 0, 0, 0, 0, 0};
  uint64_t answer = 0;
  asm volatile(
      "rolq $3, %%rdi; rolq $13, %%rdi; rolq $61, %%rdi; rolq $51, %%rdi\n"
      "xchgq %%rbx, %%rbx\n"
      : "=d"(answer)
      : "a"(arguments), "0"(answer)
      : "cc", "memory", "rdi");
  return answer;
#else
  return 0;
#endif
}

LibcAllocator found = {};
std::atomic<bool> searched{false};

}  // namespace

void* find_symbol(const void* inside, const char* name) {
  Search search = {reinterpret_cast<uintptr_t>(inside), 0, nullptr};
  if (dl_iterate_phdr(find_object, &search) == 0 || search.dynamic == nullptr) return nullptr;
  const ElfW(Sym)* symbols = nullptr;
  const char* strings = nullptr;
  const uint32_t* hash = nullptr;
  for (const ElfW(Dyn)* d = search.dynamic; d->d_tag != DT_NULL; ++d) {
    // glibc has relocated these in place; other loaders leave them relative.
    const uintptr_t address = d->d_un.d_ptr < search.base ? search.base + d->d_un.d_ptr : d->d_un.d_ptr;
    if (d->d_tag == DT_SYMTAB) symbols = reinterpret_cast<const ElfW(Sym)*>(address);
    if (d->d_tag == DT_STRTAB) strings = reinterpret_cast<const char*>(address);
    if (d->d_tag == DT_GNU_HASH) hash = reinterpret_cast<const uint32_t*>(address);
  }
  if (symbols == nullptr || strings == nullptr || hash == nullptr) return nullptr;
  const uint32_t count = count_symbols(hash);
  for (uint32_t i = 0; i < count; ++i) {
    const ElfW(Sym)& s = symbols[i];
    if (s.st_value == 0 || s.st_shndx == SHN_UNDEF || ELF64_ST_TYPE(s.st_info) != STT_FUNC) continue;
    if (strcmp(strings + s.st_name, name) == 0) return reinterpret_cast<void*>(search.base + s.st_value);
  }
  return nullptr;
}

const LibcAllocator& libc_allocator() {
  // Two threads may search at once; they find the same. Release pairs with the acquire here.
  if (PM_LIKELY(searched.load(std::memory_order_acquire))) return found;
  if (&__interceptor_malloc != nullptr) {
    found = {__interceptor_malloc,  __interceptor_free,     __interceptor_calloc,
             __interceptor_realloc, __interceptor_memalign, __interceptor_malloc_usable_size};
  } else {
    // getauxval is the C library's and nobody replaces it.
    const void* const inside = reinterpret_cast<const void*>(&getauxval);
    look_up(found.malloc, inside, "malloc");
    look_up(found.free, inside, "free");
    look_up(found.calloc, inside, "calloc");
    look_up(found.realloc, inside, "realloc");
    look_up(found.memalign, inside, "memalign");
    look_up(found.malloc_usable_size, inside, "malloc_usable_size");
  }
  searched.store(true, std::memory_order_release);
  return found;
}

bool is_instrumented(const char** name) {
  if (&__asan_init != nullptr) *name = "AddressSanitizer";
  if (&__tsan_init != nullptr) *name = "ThreadSanitizer";
  if (&__msan_init != nullptr) *name = "MemorySanitizer";
  if (valgrind_depth() != 0) *name = "Valgrind";
  return *name != nullptr;
}

}  // namespace pm::os
