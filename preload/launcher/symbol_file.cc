#include "preload/launcher/symbol_file.h"

#include <dwarf.h>
#include <elfutils/libdwelf.h>
#include <gelf.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>

#include "preload/launcher/function_name.h"

namespace pm {
namespace {

constexpr int kDeepestNesting = 256;  // of debugging entries; what nests deeper is damaged

const Dwfl_Callbacks kCallbacks = {dwfl_build_id_find_elf, dwfl_standard_find_debuginfo, dwfl_offline_section_address,
                                   nullptr};

std::string hexadecimal(const unsigned char* bytes, size_t count) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (size_t i = 0; i < count; ++i) {
    text += kDigits[bytes[i] >> 4];
    text += kDigits[bytes[i] & 15];
  }
  return text;
}

// An attribute of the entry or of the one it is an instance of.
std::optional<Dwarf_Word> number_of(Dwarf_Die* die, unsigned name) {
  Dwarf_Attribute attribute;
  Dwarf_Word value;
  if (dwarf_formudata(dwarf_attr_integrate(die, name, &attribute), &value) != 0) return {};
  return value;
}

std::string text_of(Dwarf_Die* die, unsigned name) {
  Dwarf_Attribute attribute;
  const char* text = dwarf_formstring(dwarf_attr_integrate(die, name, &attribute));
  return text == nullptr ? std::string() : text;
}

std::string linkage_name(Dwarf_Die* die) {
  const std::string name = text_of(die, DW_AT_linkage_name);
  return name.empty() ? text_of(die, DW_AT_MIPS_linkage_name) : name;
}

// The entry that declares a function, which lies in its namespace or class, while the definition may lie elsewhere.
Dwarf_Die declaration_of(Dwarf_Die die) {
  for (int step = 0; step < kDeepestNesting; ++step) {
    Dwarf_Attribute attribute;
    Dwarf_Die next;
    Dwarf_Attribute* found = dwarf_attr(&die, DW_AT_abstract_origin, &attribute);
    if (found == nullptr) found = dwarf_attr(&die, DW_AT_specification, &attribute);
    if (found == nullptr || dwarf_formref_die(found, &next) == nullptr) break;
    die = next;
  }
  return die;
}

// A function without a name for the linker (static or in an anonymous namespace): the scopes around it, and its name.
std::string qualified_name(Dwarf_Die* die) {
  std::string name = text_of(die, DW_AT_name);
  if (name.empty()) return name;
  Dwarf_Die declaration = declaration_of(*die);
  Dwarf_Die* scopes = nullptr;
  const int count = dwarf_getscopes_die(&declaration, &scopes);
  const std::unique_ptr<Dwarf_Die, decltype(&std::free)> owner(scopes, &std::free);
  for (int i = 1; i < count; ++i) {
    switch (dwarf_tag(&scopes[i])) {
      case DW_TAG_namespace:
      case DW_TAG_class_type:
      case DW_TAG_structure_type:
      case DW_TAG_union_type: {
        const char* scope = dwarf_diename(&scopes[i]);
        name = std::string(scope != nullptr ? scope : "(anonymous namespace)") + "::" + name;
      }
    }
  }
  return name;
}

// The function that the entry is an instance of. `symbol` is what the symbol table has at its address, or empty.
Place function_of(Dwarf_Die* die, const std::string& symbol) {
  Place place;
  place.system_name = linkage_name(die);
  if (place.system_name.empty() && is_mangled(symbol)) place.system_name = symbol;
  if (!place.system_name.empty()) {
    place.function = function_name(place.system_name);
  } else {
    place.system_name = text_of(die, DW_AT_name);
    place.function = qualified_name(die);
  }
  place.start_line = static_cast<int>(number_of(die, DW_AT_decl_line).value_or(0));
  return place;
}

// From the function down to the innermost call inlined at the address; outermost first.
void follow_inlined_calls(Dwarf_Die parent, Dwarf_Addr address, std::vector<Dwarf_Die>& calls, int depth) {
  Dwarf_Die child;
  if (depth == kDeepestNesting || dwarf_child(&parent, &child) != 0) return;
  do {
    const int tag = dwarf_tag(&child);
    if (tag != DW_TAG_inlined_subroutine && tag != DW_TAG_lexical_block) continue;
    if (dwarf_haspc(&child, address) != 1) continue;
    if (tag == DW_TAG_inlined_subroutine) calls.push_back(child);
    return follow_inlined_calls(child, address, calls, depth + 1);
  } while (dwarf_siblingof(&child, &child) == 0);
}

bool holds_functions(int tag) {
  switch (tag) {
    case DW_TAG_namespace:
    case DW_TAG_module:
    case DW_TAG_class_type:
    case DW_TAG_structure_type:
    case DW_TAG_union_type:
    case DW_TAG_enumeration_type:
    case DW_TAG_subprogram:
    case DW_TAG_lexical_block: return true;
    default: return false;
  }
}

}  // namespace

std::unique_ptr<SymbolFile> SymbolFile::open(const std::string& path) {
  struct stat status;
  if (stat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) return nullptr;
  std::unique_ptr<SymbolFile> file(new SymbolFile);
  // Elfutils would otherwise ask servers for debug files.
  unsetenv("DEBUGINFOD_URLS");
  file->dwfl_.reset(dwfl_begin(&kCallbacks));
  if (file->dwfl_ == nullptr) return nullptr;
  // At base 0 with the segments' addresses added, the module's addresses are the file's.
  file->module_ = dwfl_report_elf(file->dwfl_.get(), path.c_str(), path.c_str(), -1, 0, true);
  dwfl_report_end(file->dwfl_.get(), nullptr, nullptr);
  if (file->module_ == nullptr) return nullptr;
  GElf_Addr bias;
  const void* bytes = nullptr;
  Elf* elf = dwfl_module_getelf(file->module_, &bias);
  if (elf == nullptr) return nullptr;
  const ssize_t count = dwelf_elf_gnu_build_id(elf, &bytes);
  if (count > 0) file->build_id_ = hexadecimal(static_cast<const unsigned char*>(bytes), static_cast<size_t>(count));
  return file;
}

std::optional<uint64_t> SymbolFile::address_of(uint64_t file_offset, uint64_t behind_mapping) const {
  GElf_Addr bias;
  Elf* elf = dwfl_module_getelf(module_, &bias);
  size_t count;
  if (elf == nullptr || elf_getphdrnum(elf, &count) != 0) return {};
  std::optional<uint64_t> without_code;
  for (size_t i = 0; i < count; ++i) {
    GElf_Phdr segment;
    if (gelf_getphdr(elf, static_cast<int>(i), &segment) == nullptr) continue;
    if (segment.p_type != PT_LOAD || (segment.p_flags & PF_X) == 0) continue;
    if (file_offset - segment.p_offset < segment.p_filesz) return file_offset - segment.p_offset + segment.p_vaddr;
    // The mapping begins with the page that the segment begins in.
    if (segment.p_filesz == 0 && !without_code && segment.p_align != 0) {
      without_code = segment.p_vaddr - segment.p_vaddr % 4096 + behind_mapping;
    }
  }
  return without_code;
}

void SymbolFile::add_ranges(Dwarf_Die& die, std::vector<AddressRange>& to) {
  Dwarf_Addr base, start, end;
  for (ptrdiff_t at = 0; (at = dwarf_ranges(&die, at, &base, &start, &end)) > 0;) {
    if (start < end) to.push_back({start, end, die});
  }
}

// Entries of types hold functions as well: a compiler may leave a method's code where the method is declared.
void SymbolFile::add_functions(Dwarf_Die& unit, std::vector<AddressRange>& to) {
  std::vector<Dwarf_Die> parents = {unit};
  while (!parents.empty()) {
    Dwarf_Die parent = parents.back();
    parents.pop_back();
    Dwarf_Die child;
    if (dwarf_child(&parent, &child) != 0) continue;
    do {
      const int tag = dwarf_tag(&child);
      if (tag == DW_TAG_subprogram) add_ranges(child, to);
      if (holds_functions(tag) && dwarf_haschildren(&child) == 1) parents.push_back(child);
    } while (dwarf_siblingof(&child, &child) == 0);
  }
}

const SymbolFile::AddressRange* SymbolFile::shortest_around(const std::vector<AddressRange>& ranges,
                                                            Dwarf_Addr address) {
  const AddressRange* best = nullptr;
  for (const AddressRange& range : ranges) {
    if (address < range.start || address >= range.end) continue;
    if (best == nullptr || range.end - range.start < best->end - best->start) best = &range;
  }
  return best;
}

// The units' own entries say where their code is. An index of that in the file (.debug_aranges) is missing in what
// clang and rustc write.
void SymbolFile::read_units() {
  units_read_ = true;
  Dwarf_Die* unit = nullptr;
  while ((unit = dwfl_module_nextcu(module_, unit, &bias_)) != nullptr) add_ranges(*unit, unit_ranges_);
}

std::vector<Place> SymbolFile::from_debug_information(uint64_t module_address) {
  if (!units_read_) read_units();
  const Dwarf_Addr address = module_address - bias_;
  const AddressRange* unit_range = shortest_around(unit_ranges_, address);
  if (unit_range == nullptr) return {};
  Dwarf_Die unit_die = unit_range->die;
  Unit& unit = units_[dwarf_dieoffset(&unit_die)];
  if (!unit.read) {
    unit.read = true;
    add_functions(unit_die, unit.functions);
  }
  const AddressRange* function = shortest_around(unit.functions, address);
  if (function == nullptr) return {};

  std::vector<Dwarf_Die> calls = {function->die};
  follow_inlined_calls(function->die, address, calls, 0);
  const auto symbol = from_symbols(module_address);
  std::vector<Place> places;
  for (Dwarf_Die& call : calls) {
    places.push_back(function_of(&call, places.empty() && symbol ? symbol->system_name : std::string()));
  }

  // Where each function stands is written at the call that was inlined into it, and of the innermost in the line table.
  Dwarf_Files* files = nullptr;
  size_t file_count = 0;
  if (dwarf_getsrcfiles(&unit_die, &files, &file_count) != 0) files = nullptr;
  for (size_t i = 0; i + 1 < calls.size(); ++i) {
    places[i].line = static_cast<int>(number_of(&calls[i + 1], DW_AT_call_line).value_or(0));
    const auto index = number_of(&calls[i + 1], DW_AT_call_file);
    if (files == nullptr || !index || *index >= file_count) continue;
    if (const char* source = dwarf_filesrc(files, *index, nullptr, nullptr)) places[i].source = source;
  }
  if (Dwarf_Line* line = dwarf_getsrc_die(&unit_die, address)) {
    dwarf_lineno(line, &places.back().line);
    if (const char* source = dwarf_linesrc(line, nullptr, nullptr)) places.back().source = source;
  }
  std::reverse(places.begin(), places.end());
  return places;
}

std::optional<Place> SymbolFile::from_symbols(uint64_t address) const {
  GElf_Off behind;
  GElf_Sym symbol;
  const char* name = dwfl_module_addrinfo(module_, address, &behind, &symbol, nullptr, nullptr, nullptr);
  // Between the functions that a stripped library exports lie others, whose names are lost.
  if (name == nullptr || name[0] == '\0' || (symbol.st_size != 0 && behind >= symbol.st_size)) return {};
  Place place;
  place.system_name = name;
  place.function = function_name(place.system_name);
  return place;
}

std::vector<Place> SymbolFile::look_up(uint64_t address) {
  std::vector<Place> places = from_debug_information(address);
  const auto unnamed = [](const Place& place) { return place.function.empty(); };
  if (!places.empty() && std::none_of(places.begin(), places.end(), unnamed)) return places;
  const auto symbol = from_symbols(address);
  return symbol ? std::vector<Place>{*symbol} : std::vector<Place>();
}

}  // namespace pm
