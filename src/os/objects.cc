#include "os/objects.h"

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <sys/auxv.h>

#include <cerrno>
#include <cstring>

#include "base/bits.h"
#include "base/text.h"
#include "os/process.h"
#include "os/syscall.h"

// glibc 2.35 and later; absent in older ones, hence weak.
extern "C" int pm_find_dl_object(void*, dl_find_object*) __asm__("_dl_find_object") __attribute__((weak));

namespace pm::os {
namespace {

// Finds GNU's build id in a note segment.
size_t find_build_id(const char* notes, size_t size, uint8_t (&out)[kMostBuildId]) {
  size_t at = 0;
  while (at + sizeof(ElfW(Nhdr)) <= size) {
    ElfW(Nhdr) note;
    memcpy(&note, notes + at, sizeof note);
    const size_t name = at + sizeof note;
    const size_t content = name + align_up(note.n_namesz, 4);
    const size_t next = content + align_up(note.n_descsz, 4);
    if (next > size || next <= at) return 0;
    if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && memcmp(notes + name, "GNU", 4) == 0) {
      const size_t length = note.n_descsz < kMostBuildId ? note.n_descsz : kMostBuildId;
      memcpy(out, notes + content, length);
      return length;
    }
    at = next;
  }
  return 0;
}

bool is_elf(const ElfW(Ehdr) & header) {
  return memcmp(header.e_ident, ELFMAG, SELFMAG) == 0 && header.e_phentsize == sizeof(ElfW(Phdr));
}

}  // namespace

bool find_object(uintptr_t address, ObjectRange& out) {
  if (&pm_find_dl_object == nullptr) return false;
  dl_find_object found;
  if (pm_find_dl_object(reinterpret_cast<void*>(address), &found) != 0) return false;
  const char* const name = found.dlfo_link_map != nullptr ? found.dlfo_link_map->l_name : nullptr;
  out = {address_of(found.dlfo_map_start), address_of(found.dlfo_map_end), found.dlfo_eh_frame,
         name != nullptr ? name : ""};
  return true;
}

uintptr_t program_entry() { return getauxval(AT_ENTRY); }
// getauxval is the C library's and nobody replaces it.
uintptr_t libc_address() { return address_of(reinterpret_cast<const void*>(&getauxval)); }

bool describe_code(const ObjectRange& object, uintptr_t address, ObjectCode& out) {
  const auto& header = *reinterpret_cast<const ElfW(Ehdr)*>(object.start);
  if (object.end - object.start < sizeof header || !is_elf(header)) return false;
  const uintptr_t table = object.start + header.e_phoff;
  const size_t bytes = size_t{header.e_phnum} * sizeof(ElfW(Phdr));
  if (table + bytes > object.end || table + bytes < table) return false;
  const auto* const segments = reinterpret_cast<const ElfW(Phdr)*>(table);
  const size_t page = page_size();
  // The object lies where its first segment does.
  uintptr_t base = object.start;
  for (unsigned i = 0; i < header.e_phnum; ++i) {
    if (segments[i].p_type != PT_LOAD) continue;
    base = object.start - align_down(segments[i].p_vaddr, page);
    break;
  }
  out = {};
  for (unsigned i = 0; i < header.e_phnum; ++i) {
    const ElfW(Phdr)& segment = segments[i];
    const uintptr_t start = base + segment.p_vaddr;
    if (segment.p_type == PT_LOAD && address >= start && address < start + segment.p_memsz) {
      out.start = align_down(start, page);
      out.end = align_up(start + segment.p_memsz, page);
      out.file_offset = align_down(segment.p_offset, page);
    }
    if (segment.p_type == PT_NOTE && out.build_id_bytes == 0 && start >= object.start &&
        start + segment.p_memsz <= object.end) {
      const auto* const notes = reinterpret_cast<const char*>(start);
      out.build_id_bytes = static_cast<uint32_t>(find_build_id(notes, segment.p_memsz, out.build_id));
    }
  }
  return out.start != 0;
}

size_t read_build_id(uintptr_t start, uint8_t (&out)[kMostBuildId]) {
  const long fd = raw_syscall(SYS_openat, AT_FDCWD, argument("/proc/self/mem"), O_RDONLY | O_CLOEXEC);
  if (failed(fd)) return 0;
  const auto read_at = [fd](uintptr_t from, void* to, size_t size) {
    return raw_syscall(SYS_pread64, fd, argument(to), static_cast<long>(size), static_cast<long>(from)) ==
           static_cast<long>(size);
  };
  size_t length = 0;
  ElfW(Ehdr) header;
  uintptr_t base = start;
  bool based = false;
  if (read_at(start, &header, sizeof header) && is_elf(header)) {
    for (unsigned i = 0; i < header.e_phnum && length == 0; ++i) {
      ElfW(Phdr) segment;
      if (!read_at(start + header.e_phoff + i * sizeof segment, &segment, sizeof segment)) break;
      if (segment.p_type == PT_LOAD && !based) {
        base = start - align_down(segment.p_vaddr, page_size());
        based = true;
      }
      if (segment.p_type != PT_NOTE) continue;
      char notes[1024];
      const size_t size = segment.p_filesz < sizeof notes ? segment.p_filesz : sizeof notes;
      // The headers' order is free: without a PT_LOAD before it, the object lies at its start.
      if (read_at(base + segment.p_vaddr, notes, size)) length = find_build_id(notes, size, out);
    }
  }
  close_file(static_cast<int>(fd));
  return length;
}

bool is_readable(uintptr_t address) {
  constexpr long kNoRequest = -1;
  return raw_syscall(SYS_rt_sigprocmask, kNoRequest, static_cast<long>(address & ~uintptr_t{7}), 0, 8) != -EFAULT;
}

}  // namespace pm::os
