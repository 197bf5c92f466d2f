// The functions of one ELF file: what elfutils finds in its debug information or in a debug file that belongs to it,
// otherwise in its symbol tables.
//
// Addresses are the file's own (those that nm prints), not a process's. Nothing is fetched from the network. One
// thread.
#ifndef POOLMALLOC_PRELOAD_LAUNCHER_SYMBOL_FILE_H_
#define POOLMALLOC_PRELOAD_LAUNCHER_SYMBOL_FILE_H_

#include <elfutils/libdwfl.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace pm {

// A function that an address lies in. Functions that were inlined into one another share the address.
struct Place {
  std::string function;     // for people
  std::string system_name;  // as in the symbol table
  std::string source;       // path; empty: not known
  int line = 0;
  int start_line = 0;  // of the function
};

class SymbolFile {
 public:
  // Opens a regular file that is ELF, otherwise nothing.
  static std::unique_ptr<SymbolFile> open(const std::string& path);

  // In hexadecimal; empty if the file has none.
  const std::string& build_id() const { return build_id_; }

  // The address of the byte of code at an offset of the file. A file of debug information alone has no code; then it is
  // the address of the byte that lies so far behind the start of the code.
  std::optional<uint64_t> address_of(uint64_t file_offset, uint64_t behind_mapping) const;

  // The functions at an address, innermost first; none if the file does not tell.
  std::vector<Place> look_up(uint64_t address);

 private:
  struct AddressRange {
    Dwarf_Addr start;
    Dwarf_Addr end;
    Dwarf_Die die;
  };
  struct Unit {
    bool read = false;
    std::vector<AddressRange> functions;  // nested ones too: the shortest that holds an address is the function
  };
  struct DwflDeleter {
    void operator()(Dwfl* dwfl) const { dwfl_end(dwfl); }
  };

  SymbolFile() = default;
  void read_units();
  static void add_ranges(Dwarf_Die& die, std::vector<AddressRange>& to);
  static void add_functions(Dwarf_Die& parent, std::vector<AddressRange>& to);
  static const AddressRange* shortest_around(const std::vector<AddressRange>& ranges, Dwarf_Addr address);
  std::vector<Place> from_debug_information(uint64_t address);
  std::optional<Place> from_symbols(uint64_t address) const;

  std::unique_ptr<Dwfl, DwflDeleter> dwfl_;
  Dwfl_Module* module_ = nullptr;
  std::string build_id_;
  bool units_read_ = false;
  Dwarf_Addr bias_ = 0;  // what the module's addresses are above those in its debug information
  std::vector<AddressRange> unit_ranges_;
  std::map<Dwarf_Off, Unit> units_;
};

}  // namespace pm

#endif  // POOLMALLOC_PRELOAD_LAUNCHER_SYMBOL_FILE_H_
