#include "preload/launcher/process.h"

#include <elf.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <optional>
#include <string>

namespace pm {
namespace {

struct Program {
  unsigned char elf_class;
  uint16_t machine;
  bool has_interpreter;  // a dynamic loader starts it
};

// The few facts of an ELF file that decide whether a library can be preloaded; nothing if it cannot be read.
std::optional<Program> read_program(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  unsigned char ident[EI_NIDENT];
  uint16_t type_and_machine[2];
  if (!file.read(reinterpret_cast<char*>(ident), sizeof ident) || std::memcmp(ident, ELFMAG, SELFMAG) != 0 ||
      !file.read(reinterpret_cast<char*>(type_and_machine), sizeof type_and_machine)) {
    return {};
  }
  Program program = {ident[EI_CLASS], type_and_machine[1], false};
  // A program of the other word size cannot load the library whatever its headers say, so they are not read.
  if (program.elf_class != ELFCLASS64) return program;
  Elf64_Ehdr header;
  file.seekg(0);
  if (!file.read(reinterpret_cast<char*>(&header), sizeof header)) return {};
  for (unsigned i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr segment;
    file.seekg(static_cast<std::streamoff>(header.e_phoff + i * sizeof segment));
    if (!file.read(reinterpret_cast<char*>(&segment), sizeof segment)) return {};
    if (segment.p_type == PT_INTERP) program.has_interpreter = true;
  }
  return program;
}

// Whether the kernel started the process with AT_SECURE, under which the loader takes no library from LD_PRELOAD.
bool is_secure(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/auxv", std::ios::binary);
  for (Elf64_auxv_t entry; file.read(reinterpret_cast<char*>(&entry), sizeof entry);) {
    if (entry.a_type == AT_SECURE) return entry.a_un.a_val != 0;
  }
  return false;
}

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

}  // namespace

std::string obstacle(pid_t pid, const std::string& library) {
  const auto program = read_program("/proc/" + std::to_string(pid) + "/exe");
  const auto wanted = read_program(library);
  if (!program || !wanted) return {};
  if (program->elf_class != wanted->elf_class || program->machine != wanted->machine) {
    return "it is a program for another architecture";
  }
  if (!program->has_interpreter) return "it is statically linked, so no library can be preloaded";
  if (is_secure(pid)) return "it runs with another user's rights (setuid), so the loader ignores LD_PRELOAD";
  return {};
}

Presence look_for_library(pid_t pid, const std::string& library) {
  errno = 0;
  std::ifstream maps("/proc/" + std::to_string(pid) + "/maps");
  if (!maps) return errno == ENOENT || errno == ESRCH ? Presence::gone : Presence::unreadable;
  bool any = false;
  bool libc_mapped = false;
  for (std::string line; std::getline(maps, line);) {
    any = true;
    if (ends_with(line, " " + library)) return Presence::mapped;
    if (line.find("/libc.so") != std::string::npos || line.find("/libc-2") != std::string::npos) libc_mapped = true;
  }
  // A process that has ended but was not waited for has an empty file.
  if (!any) return Presence::gone;
  // The loader maps preloaded libraries before those the program needs itself.
  return libc_mapped ? Presence::absent : Presence::pending;
}

}  // namespace pm
