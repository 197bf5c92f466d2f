// Frame rules that were looked up before: nearly every frame's are a register plus a number, and a few thousand places
// in the code make up all stacks of a program.
//
// A direct-mapped table without a lock. An entry is four words, the first of which is the others and the place combined
// by exclusive or: a torn read finds another place. Libraries come and go, and another may lie where one was: an entry
// names the record that its rules were read from, and counts only while a record with the same content stands there,
// inside the object that covers the place now.
#pragma once

#include "os/objects.h"
#include "profile/cfi.h"

namespace pm {

// Rules that need no expression.
struct PlainRules {
  bool ends;               // there is no caller
  bool by_frame_register;  // the frame's address (CFA) is the frame register plus base_offset; else the stack pointer
  bool frame_saved;        // the caller's frame register lies at CFA + frame_offset; else it is unchanged
  int32_t base_offset;
  int32_t frame_offset;
  int32_t return_offset;  // the return address lies at CFA + return_offset
};

// The rules at `pc`, whose object's these are, if they are in the table. Of an object that is `lasting`, no other can
// have been in its place.
bool find_cached(const os::ObjectRange& object, bool lasting, uintptr_t pc, PlainRules& out);
// Keeps them, if they are plain.
void cache_rules(uintptr_t pc, const FrameRules& rules);

}  // namespace pm
