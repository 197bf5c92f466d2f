#include "profile/cfi.h"

#include <cstring>

#include "base/bits.h"
#include "os/objects.h"

namespace pm {
namespace {

// Reads what DWARF is made of. Bytes beyond the end read as zero and make it bad.
class Reader {
 public:
  Reader(const uint8_t* data, const uint8_t* end) : at_(data), end_(end) {}

  bool more() const { return at_ < end_ && !bad_; }
  bool bad() const { return bad_; }
  const uint8_t* at() const { return at_; }

  template <typename T>
  T fixed() {
    T value = 0;
    if (static_cast<size_t>(end_ - at_) < sizeof value) {
      fail();
      return 0;
    }
    memcpy(&value, at_, sizeof value);
    at_ += sizeof value;
    return value;
  }
  uint64_t uleb() {
    uint64_t value = 0;
    for (unsigned shift = 0;; shift += 7) {
      const auto byte = fixed<uint8_t>();
      if (shift < 64) value |= uint64_t{byte & 0x7fU} << shift;
      if ((byte & 0x80U) == 0) return value;
    }
  }
  int64_t sleb() {
    uint64_t value = 0;
    unsigned shift = 0;
    uint8_t byte;
    do {
      byte = fixed<uint8_t>();
      if (shift < 64) value |= uint64_t{byte & 0x7fU} << shift;
      shift += 7;
    } while ((byte & 0x80U) != 0);
    if (shift < 64 && (byte & 0x40U) != 0) value |= ~uint64_t{0} << shift;
    return static_cast<int64_t>(value);
  }
  // A pointer in one of the encodings (DW_EH_PE_...) that code is described by: absolute, or relative to where it
  // stands.
  uintptr_t pointer(uint8_t encoding, bool relative = true) {
    constexpr uint8_t kRelativeToItself = 0x10;
    const uintptr_t here = address_of(at_);
    uintptr_t value = 0;
    switch (encoding & 0x0fU) {
      case 0x00:
      case 0x04:
      case 0x0c: value = fixed<uint64_t>(); break;
      case 0x02: value = fixed<uint16_t>(); break;
      case 0x03: value = fixed<uint32_t>(); break;
      case 0x0a: value = static_cast<uintptr_t>(static_cast<int64_t>(fixed<int16_t>())); break;
      case 0x0b: value = static_cast<uintptr_t>(static_cast<int64_t>(fixed<int32_t>())); break;
      default: fail();
    }
    if (!relative) return value;
    switch (encoding & 0x70U) {
      case 0: return value;
      case kRelativeToItself: return value + here;
      default: fail(); return 0;
    }
  }
  void skip(uint64_t bytes) {
    if (bytes > static_cast<size_t>(end_ - at_)) return fail();
    at_ += bytes;
  }

 private:
  void fail() {
    bad_ = true;
    at_ = end_;
  }

  const uint8_t* at_;
  const uint8_t* end_;
  bool bad_ = false;
};

// What functions share.
struct Common {
  uint64_t code_align = 1;
  int64_t data_align = 1;
  uint8_t pointer_encoding = 0;
  bool has_augmentation = false;
  bool signal_frame = false;
  const uint8_t* instructions = nullptr;
  const uint8_t* end = nullptr;
};

// A record of .eh_frame: its content, without the length.
bool open_record(const uint8_t* record, const uint8_t*& begin, const uint8_t*& end) {
  uint32_t length;
  memcpy(&length, record, sizeof length);
  if (length < 4 || length == UINT32_MAX) return false;
  begin = record + sizeof length;
  end = begin + length;
  return true;
}

bool read_common(const uint8_t* record, Common& out) {
  const uint8_t* begin;
  if (!open_record(record, begin, out.end)) return false;
  Reader in(begin, out.end);
  if (in.fixed<uint32_t>() != 0) return false;
  const auto version = in.fixed<uint8_t>();
  if (version != 1 && version != 3) return false;
  const char* const augmentation = reinterpret_cast<const char*>(in.at());
  while (in.fixed<uint8_t>() != 0) {
  }
  out.code_align = in.uleb();
  out.data_align = in.sleb();
  const uint64_t return_register = version == 1 ? in.fixed<uint8_t>() : in.uleb();
  if (return_register != os::kReturnRegister) return false;
  if (augmentation[0] == 'z') {
    out.has_augmentation = true;
    const uint64_t bytes = in.uleb();
    const uint8_t* const data = in.at();
    for (const char* c = augmentation + 1; *c != 0; ++c) {
      switch (*c) {
        case 'R': out.pointer_encoding = in.fixed<uint8_t>(); break;
        case 'L': in.fixed<uint8_t>(); break;
        case 'P': in.pointer(in.fixed<uint8_t>(), false); break;
        case 'S': out.signal_frame = true; break;
        case 'B': break;  // arm64: return addresses are signed with the other key
        default: return false;
      }
    }
    in.skip(bytes - static_cast<size_t>(in.at() - data));
  } else if (augmentation[0] != 0) {
    return false;
  }
  out.instructions = in.at();
  return !in.bad();
}

// Runs call frame instructions up to a place in the code.
class Machine {
 public:
  Machine(const Common& common, uintptr_t start, uintptr_t pc) : common_(common), place_(start), pc_(pc) {}

  bool run(const uint8_t* begin, const uint8_t* end) {
    Reader in(begin, end);
    while (in.more() && place_ <= pc_) {
      if (!step(in)) return false;
    }
    return !in.bad();
  }
  void keep_initial() { initial_ = rules; }

  FrameRules rules;

 private:
  FrameRule* rule_of(uint64_t number) {
    if (number == os::kFrameRegister) return &rules.frame_register;
    if (number == os::kReturnRegister) return &rules.return_address;
    return nullptr;  // not followed
  }
  void set(uint64_t number, FrameRule::Kind kind, int64_t offset = 0) {
    if (FrameRule* const rule = rule_of(number); rule != nullptr) *rule = {kind, offset, nullptr, 0};
  }
  void set_expression(uint64_t number, FrameRule::Kind kind, Reader& in) {
    const uint64_t bytes = in.uleb();
    if (FrameRule* const rule = rule_of(number); rule != nullptr) *rule = {kind, 0, in.at(), bytes};
    in.skip(bytes);
  }
  void restore(uint64_t number) {
    if (number == os::kFrameRegister) rules.frame_register = initial_.frame_register;
    if (number == os::kReturnRegister) rules.return_address = initial_.return_address;
  }
  void set_base(uint64_t number, int64_t offset) {
    rules.by_expression = false;
    rules.base_register = static_cast<unsigned>(number);
    rules.base_offset = offset;
  }
  int64_t scaled(uint64_t factor) const { return static_cast<int64_t>(factor) * common_.data_align; }
  void advance(uint64_t units) { place_ += units * common_.code_align; }

  bool step(Reader& in) {
    using Kind = FrameRule::Kind;
    const auto code = in.fixed<uint8_t>();
    const uint8_t low = code & 0x3fU;
    switch (code >> 6) {
      case 1: advance(low); return true;
      case 2: set(low, Kind::memory, scaled(in.uleb())); return true;
      case 3: restore(low); return true;
      default: break;
    }
    uint64_t number;
    switch (code) {
      case 0x00: return true;                                                 // nop
      case 0x01: place_ = in.pointer(common_.pointer_encoding); return true;  // set_loc
      case 0x02: advance(in.fixed<uint8_t>()); return true;
      case 0x03: advance(in.fixed<uint16_t>()); return true;
      case 0x04: advance(in.fixed<uint32_t>()); return true;
      case 0x05:
        number = in.uleb();
        set(number, Kind::memory, scaled(in.uleb()));
        return true;
      case 0x06: restore(in.uleb()); return true;
      case 0x07: set(in.uleb(), Kind::undefined); return true;
      case 0x08: set(in.uleb(), Kind::same); return true;
      case 0x09:
        number = in.uleb();
        in.uleb();
        set(number, Kind::unknown);
        return true;  // in another register
      case 0x0a:
        if (depth_ == kMostStates) return false;
        states_[depth_++] = rules;
        return true;
      case 0x0b:
        if (depth_ == 0) return false;
        rules = states_[--depth_];
        return true;
      case 0x0c:
        number = in.uleb();
        set_base(number, static_cast<int64_t>(in.uleb()));
        return true;
      case 0x0d:
        rules.by_expression = false;
        rules.base_register = static_cast<unsigned>(in.uleb());
        return true;
      case 0x0e: rules.base_offset = static_cast<int64_t>(in.uleb()); return true;
      case 0x0f:
        rules.by_expression = true;
        rules.code_bytes = in.uleb();
        rules.code = in.at();
        in.skip(rules.code_bytes);
        return true;
      case 0x10:
        number = in.uleb();
        set_expression(number, Kind::expression, in);
        return true;
      case 0x11:
        number = in.uleb();
        set(number, Kind::memory, in.sleb() * common_.data_align);
        return true;
      case 0x12:
        number = in.uleb();
        set_base(number, in.sleb() * common_.data_align);
        return true;
      case 0x13: rules.base_offset = in.sleb() * common_.data_align; return true;
      case 0x14:
        number = in.uleb();
        set(number, Kind::plus, scaled(in.uleb()));
        return true;
      case 0x15:
        number = in.uleb();
        set(number, Kind::plus, in.sleb() * common_.data_align);
        return true;
      case 0x16:
        number = in.uleb();
        set_expression(number, Kind::value, in);
        return true;
      case 0x2d: return true;             // arm64: the return address is signed, or is not
      case 0x2e: in.uleb(); return true;  // size of arguments
      case 0x2f:
        number = in.uleb();
        set(number, Kind::memory, -scaled(in.uleb()));
        return true;
      default: return false;
    }
  }

  static constexpr unsigned kMostStates = 8;
  const Common& common_;
  uintptr_t place_;
  const uintptr_t pc_;
  FrameRules initial_;
  FrameRules states_[kMostStates];
  unsigned depth_ = 0;
};

// The header that the linker writes: a table of functions and their records, sorted, relative to the header.
struct TableHeader {
  uint8_t version;
  uint8_t frame_encoding;
  uint8_t count_encoding;
  uint8_t table_encoding;
};
struct TableEntry {
  int32_t function;
  int32_t record;
};

const uint8_t* find_record(const void* frame_table, uintptr_t pc) {
  const auto& header = *static_cast<const TableHeader*>(frame_table);
  constexpr uint8_t kPlainCount = 0x03;     // four bytes, unsigned
  constexpr uint8_t kRelativeTable = 0x3b;  // four bytes, signed, relative to the header
  if (header.version != 1 || header.count_encoding != kPlainCount || header.table_encoding != kRelativeTable) {
    return nullptr;
  }
  const auto* const bytes = static_cast<const uint8_t*>(frame_table);
  const size_t pointer_bytes = (header.frame_encoding & 0x07U) == 0x03 ? 4 : 8;
  uint32_t count;
  memcpy(&count, bytes + sizeof header + pointer_bytes, sizeof count);
  const auto* const entries = reinterpret_cast<const TableEntry*>(bytes + sizeof header + pointer_bytes + sizeof count);
  const auto offset = static_cast<int64_t>(pc - address_of(frame_table));
  uint32_t low = 0;
  uint32_t high = count;
  while (low < high) {
    const uint32_t middle = low + (high - low) / 2;
    if (entries[middle].function <= offset) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low == 0 ? nullptr : bytes + entries[low - 1].record;
}

}  // namespace

bool find_frame_rules(const void* frame_table, uintptr_t pc, FrameRules& out) {
  const uint8_t* const record = find_record(frame_table, pc);
  if (record == nullptr) return false;
  const uint8_t* begin;
  const uint8_t* end;
  if (!open_record(record, begin, end)) return false;
  Reader in(begin, end);
  const auto to_common = in.fixed<uint32_t>();
  Common common;
  if (to_common == 0 || !read_common(begin - to_common, common)) return false;
  const uintptr_t start = in.pointer(common.pointer_encoding);
  const uintptr_t length = in.pointer(common.pointer_encoding, false);
  if (in.bad() || pc < start || pc - start >= length) return false;
  if (common.has_augmentation) in.skip(in.uleb());
  Machine machine(common, start, pc);
  machine.rules.return_address.kind = FrameRule::Kind::same;
  // What all functions begin with holds at every place.
  if (!machine.run(common.instructions, common.end)) return false;
  machine.keep_initial();
  if (!machine.run(in.at(), end)) return false;
  out = machine.rules;
  out.signal_frame = common.signal_frame;
  out.record = record;
  return true;
}

bool evaluate_expression(const uint8_t* code, size_t bytes, const FrameRegisters& registers, bool has_initial,
                         uintptr_t initial, WordLoader load, void* context, uintptr_t& out) {
  constexpr unsigned kMost = 16;
  uintptr_t stack[kMost];
  unsigned depth = 0;
  if (has_initial) stack[depth++] = initial;
  Reader in(code, code + bytes);
  while (in.more()) {
    if (depth == kMost) return false;
    const auto op = in.fixed<uint8_t>();
    if (op >= 0x30 && op <= 0x4f) {  // a small number
      stack[depth++] = op - 0x30U;
      continue;
    }
    if (op >= 0x70 && op <= 0x8f) {  // a register plus an offset
      const unsigned number = op - 0x70U;
      const auto offset = static_cast<uintptr_t>(in.sleb());
      if (number == os::kStackRegister) {
        stack[depth++] = registers.stack + offset;
      } else if (number == os::kFrameRegister) {
        stack[depth++] = registers.frame + offset;
      } else if (number == os::kReturnRegister) {
        stack[depth++] = registers.pc + offset;
      } else {
        return false;
      }
      continue;
    }
    switch (op) {
      case 0x08: stack[depth++] = in.fixed<uint8_t>(); continue;
      case 0x09: stack[depth++] = static_cast<uintptr_t>(int64_t{in.fixed<int8_t>()}); continue;
      case 0x0a: stack[depth++] = in.fixed<uint16_t>(); continue;
      case 0x0b: stack[depth++] = static_cast<uintptr_t>(int64_t{in.fixed<int16_t>()}); continue;
      case 0x0c: stack[depth++] = in.fixed<uint32_t>(); continue;
      case 0x0d: stack[depth++] = static_cast<uintptr_t>(int64_t{in.fixed<int32_t>()}); continue;
      case 0x10: stack[depth++] = in.uleb(); continue;
      case 0x11: stack[depth++] = static_cast<uintptr_t>(in.sleb()); continue;
      default: break;
    }
    if (depth == 0) return false;
    uintptr_t& top = stack[depth - 1];
    if (op == 0x06) {  // the word there
      if (!load(context, top, top)) return false;
      continue;
    }
    if (op == 0x12) {
      stack[depth] = top;
      ++depth;
      continue;
    }
    if (op == 0x23) {
      top += in.uleb();
      continue;
    }
    if (depth < 2) return false;
    uintptr_t& below = stack[depth - 2];
    const auto signed_below = static_cast<intptr_t>(below);
    const auto signed_top = static_cast<intptr_t>(top);
    switch (op) {
      case 0x1a: below &= top; break;
      case 0x1c: below -= top; break;
      case 0x1e: below *= top; break;
      case 0x21: below |= top; break;
      case 0x22: below += top; break;
      case 0x24: below = top < 64 ? below << top : 0; break;
      case 0x25: below = top < 64 ? below >> top : 0; break;
      case 0x29: below = below == top ? 1 : 0; break;
      case 0x2a: below = signed_below >= signed_top ? 1 : 0; break;
      case 0x2b: below = signed_below > signed_top ? 1 : 0; break;
      case 0x2c: below = signed_below <= signed_top ? 1 : 0; break;
      case 0x2d: below = signed_below < signed_top ? 1 : 0; break;
      case 0x2e: below = below != top ? 1 : 0; break;
      default: return false;
    }
    --depth;
  }
  if (in.bad() || depth == 0) return false;
  out = stack[depth - 1];
  return true;
}

}  // namespace pm
