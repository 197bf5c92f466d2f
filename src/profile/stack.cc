#include "profile/stack.h"

#include "base/bits.h"
#include "base/compiler.h"
#include "os/objects.h"
#include "os/process.h"
#include "profile/cfi.h"
#include "profile/rule_cache.h"

namespace pm {
namespace {

// Reads of the stack. What compiled code says of its own frames is believed, as an exception's way through them is.
// Once a step was a guess, or led out of a signal handler, each page is tried before it is read.
class StackReader {
 public:
  bool load(uintptr_t address, uintptr_t& value) {
    if (!is_aligned(address, sizeof value)) return false;
    if (PM_UNLIKELY(!trusting_) && !try_page(address)) return false;
    value = *reinterpret_cast<const uintptr_t*>(address);
    return true;
  }
  static bool load_for(void* context, uintptr_t address, uintptr_t& value) {
    return static_cast<StackReader*>(context)->load(address, value);
  }
  void distrust() { trusting_ = false; }

 private:
  bool try_page(uintptr_t address) {
    const uintptr_t page = align_down(address, os::page_size());
    if (page == tried_) return true;
    if (!os::is_readable(address)) return false;
    tried_ = page;
    return true;
  }

  bool trusting_ = true;
  uintptr_t tried_ = 1;  // the page that was found to be there last
};

// This library's first.
os::ObjectRange lasting[3];

bool find_lasting(uintptr_t address, os::ObjectRange& out) {
  for (const os::ObjectRange& object : lasting) {
    if (address < object.start || address >= object.end) continue;
    out = object;
    return true;
  }
  return false;
}

class Walk {
 public:
  Walk(uintptr_t pc, uintptr_t stack, uintptr_t frame, bool exact) : at_{pc, stack, frame}, exact_(exact) {}

  uintptr_t pc() const { return at_.pc; }

  // To the caller. False at the end of the stack.
  bool up() {
    // A return address may be the first of what follows the function that ends in the call.
    const uintptr_t inside = exact_ ? at_.pc : at_.pc - 1;
    if (inside < object_.start || inside >= object_.end) {
      is_lasting_ = find_lasting(inside, object_);
      if (!is_lasting_ && !os::find_object(inside, object_)) object_ = {0, 0, nullptr, nullptr};
    }
    if (object_.frame_table == nullptr) return by_frame_pointer();
    PlainRules plain;
    if (PM_LIKELY(find_cached(object_, is_lasting_, inside, plain))) return follow(plain);
    FrameRules rules;
    if (!find_frame_rules(object_.frame_table, inside, rules)) return by_frame_pointer();
    cache_rules(inside, rules);
    return follow(rules);
  }

 private:
  bool follow(const PlainRules& rules) {
    const auto plus = [](uintptr_t address, int32_t offset) {
      return address + static_cast<uintptr_t>(int64_t{offset});
    };
    const uintptr_t address = plus(rules.by_frame_register ? at_.frame : at_.stack, rules.base_offset);
    uintptr_t pc = 0;
    uintptr_t frame = at_.frame;
    if (rules.ends || address <= at_.stack || !reader_.load(plus(address, rules.return_offset), pc) || pc == 0)
      return false;
    if (rules.frame_saved && !reader_.load(plus(address, rules.frame_offset), frame)) return false;
    at_ = {pc, address, frame};
    exact_ = false;
    return true;
  }

  bool follow(const FrameRules& rules) {
    uintptr_t address;
    if (rules.by_expression) {
      if (!evaluate(rules.code, rules.code_bytes, false, 0, address)) return false;
    } else if (rules.base_register == os::kStackRegister) {
      address = at_.stack + static_cast<uintptr_t>(rules.base_offset);
    } else if (rules.base_register == os::kFrameRegister) {
      address = at_.frame + static_cast<uintptr_t>(rules.base_offset);
    } else {
      return false;
    }
    uintptr_t pc = 0;
    uintptr_t frame = 0;
    if (!apply(rules.return_address, address, at_.pc, pc) || pc == 0) return false;
    // A frame register that is lost is missed where it is used; code above may not use it as one.
    if (!apply(rules.frame_register, address, at_.frame, frame)) frame = 0;
    // Stacks grow downward; only the step out of a signal handler's may lead to any place.
    const bool upward = address > at_.stack || (address == at_.stack && pc != at_.pc);
    if (!upward && !rules.signal_frame) return false;
    at_ = {pc, address, frame};
    exact_ = rules.signal_frame;
    if (rules.signal_frame) reader_.distrust();
    return true;
  }

  bool apply(const FrameRule& rule, uintptr_t address, uintptr_t now, uintptr_t& out) {
    using Kind = FrameRule::Kind;
    uintptr_t place;
    switch (rule.kind) {
      case Kind::same: out = now; return true;
      case Kind::memory: return reader_.load(address + static_cast<uintptr_t>(rule.offset), out);
      case Kind::plus: out = address + static_cast<uintptr_t>(rule.offset); return true;
      case Kind::expression:
        return evaluate(rule.code, rule.code_bytes, true, address, place) && reader_.load(place, out);
      case Kind::value: return evaluate(rule.code, rule.code_bytes, true, address, out);
      case Kind::undefined:
      case Kind::unknown: break;
    }
    return false;
  }

  bool evaluate(const uint8_t* code, size_t bytes, bool has_initial, uintptr_t initial, uintptr_t& out) {
    return evaluate_expression(code, bytes, at_, has_initial, initial, StackReader::load_for, &reader_, out);
  }

  bool by_frame_pointer() {
    constexpr uintptr_t kFarthest = kMiB;  // a frame is shorter
    uintptr_t pc = 0;
    uintptr_t frame = 0;
    const uintptr_t now = at_.frame;
    if (now < at_.stack || now - at_.stack > kFarthest) return false;
    reader_.distrust();
    if (!reader_.load(now, frame) || !reader_.load(now + sizeof frame, pc) || pc == 0) return false;
    at_ = {pc, now + 2 * sizeof frame, frame};
    exact_ = false;
    return true;
  }

  FrameRegisters at_;
  bool exact_;
  StackReader reader_;
  os::ObjectRange object_ = {0, 0, nullptr, nullptr};
  bool is_lasting_ = false;
};

}  // namespace

void note_lasting_objects() {
  const uintptr_t inside[] = {os::frame_here().pc, os::program_entry(), os::libc_address()};
  for (unsigned i = 0; i < 3; ++i) {
    if (!os::find_object(inside[i], lasting[i])) lasting[i] = {0, 0, nullptr, nullptr};
  }
}

unsigned walk_stack(uintptr_t pc, uintptr_t stack, uintptr_t frame, bool exact, uintptr_t* out, unsigned most) {
  Walk walk(pc, stack, frame, exact);
  unsigned n = 0;
  while (n < most && walk.up()) out[n++] = walk.pc();
  return n;
}

__attribute__((noinline)) unsigned capture_stack(uintptr_t (&out)[kMaxStack]) {
  const os::FrameStart here = os::frame_here();
  os::ObjectRange own = lasting[0];
  // The program's name is empty: this library is a part of it.
  if ((own.name == nullptr && !os::find_object(here.pc, own)) || own.name[0] == 0) own = {0, 0, nullptr, nullptr};
  Walk walk(here.pc, here.stack, here.frame, true);
  unsigned n = 0;
  while (n < kMaxStack && walk.up()) {
    if (n == 0 && walk.pc() >= own.start && walk.pc() < own.end) continue;
    out[n++] = walk.pc();
  }
  return n;
}

}  // namespace pm
