// Call frame information: how to get from a function's frame to its caller's, as the compiler wrote it down in
// .eh_frame (DWARF 5, section 6.4; Linux Standard Base, "Exception Frames").
//
// Reads the tables of objects that are loaded, which the compiler and the linker made: they are believed. Pure but for
// those; no lock, no memory, no state. Of the registers it follows the stack pointer, the frame pointer and the return
// address, which is all that compiled code computes its frames from; where hand-written code uses another, there is no
// answer.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pm {

// How to get a value from the frame.
struct FrameRule {
  enum class Kind : uint8_t {
    same,        // as in the frame below
    undefined,   // there is none: the end of the stack
    memory,      // lies at the frame's address plus `offset`
    plus,        // is the frame's address plus `offset`
    expression,  // lies where the expression says
    value,       // is what the expression says
    unknown,     // depends on what is not followed
  };
  Kind kind = Kind::same;
  int64_t offset = 0;
  const uint8_t* code = nullptr;  // of the expression
  size_t code_bytes = 0;
};

struct FrameRules {
  // The frame's address (CFA): a register plus an offset, or an expression.
  bool by_expression = false;
  unsigned base_register = 0;
  int64_t base_offset = 0;
  const uint8_t* code = nullptr;
  size_t code_bytes = 0;
  FrameRule frame_register;
  FrameRule return_address;
  bool signal_frame = false;        // the frame below was interrupted, not called
  const uint8_t* record = nullptr;  // where they were read
};

// The rules at `pc`, by the frame table (.eh_frame_hdr) of its object. False if there are none.
bool find_frame_rules(const void* frame_table, uintptr_t pc, FrameRules& out);

// What an expression computes from the registers. `load` reads a word of the stack. False if it needs something else.
struct FrameRegisters {
  uintptr_t pc;
  uintptr_t stack;
  uintptr_t frame;
};
using WordLoader = bool (*)(void* context, uintptr_t address, uintptr_t& value);
// `initial` lies on the expression's stack first, if `has_initial`.
bool evaluate_expression(const uint8_t* code, size_t bytes, const FrameRegisters& registers, bool has_initial,
                         uintptr_t initial, WordLoader load, void* context, uintptr_t& out);

}  // namespace pm
