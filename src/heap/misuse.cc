#include "heap/misuse.h"

#include "base/compiler.h"
#include "base/text.h"
#include "os/mappings.h"
#include "os/process.h"

namespace pm {

std::atomic<bool> abort_on_misuse{true};

namespace {

std::atomic<uint64_t> misuses{0};
std::atomic<uint64_t> foreign{0};

uintptr_t number(const void* p) { return reinterpret_cast<uintptr_t>(p); }

// One line on stderr, in one write so that lines of several threads do not mix.
class Line {
 public:
  Line() { out_.text("poolmalloc: "); }
  TextWriter& out() { return out_; }
  void end() {
    out_.character('\n');
    os::write_all(2, out_.data(), out_.size());
  }

 private:
  char buffer_[512] = {};
  TextWriter out_{buffer_};
};

TextWriter& class_text(TextWriter& out, size_t class_size) {
  if (class_size == 0) return out.text("large object");
  return out.text("size class ").number(class_size);
}

TextWriter& library_text(TextWriter& out, const void* caller) {
  os::Mapping mapping;
  if (!os::find_mapping(number(caller), mapping) || mapping.name[0] == 0) return out.text("unknown code");
  return out.text(mapping.name);
}

void finish(Line& line) {
  line.end();
  misuses.fetch_add(1, std::memory_order_relaxed);
  if (abort_on_misuse.load(std::memory_order_relaxed)) os::abort_process();
}

void finish(Line& line, const void* caller) {
  library_text(line.out(), caller);
  finish(line);
}

}  // namespace

PM_COLD void report_double_free(const void* p, size_t class_size, const void* caller) {
  Line line;
  class_text(line.out().text("double free of ").hex(number(p)).text(" ("), class_size).text(") in ");
  finish(line, caller);
}

PM_COLD void report_late_double_free(const void* p, size_t class_size) {
  Line line;
  class_text(line.out().text("double free of ").hex(number(p)).text(" ("), class_size)
      .text("), found when it left the magazine");
  finish(line);
}

PM_COLD void report_released(const void* p, const void* caller) {
  Line line;
  line.out().text("double free of ").hex(number(p)).text(" (its slab is gone) in ");
  finish(line, caller);
}

PM_COLD void report_inside(const void* p, const void* object, size_t class_size, const void* caller) {
  Line line;
  line.out().text("free of ").hex(number(p)).text(", an address inside ");
  if (class_size == 0) {
    line.out().text("a large object");
  } else {
    line.out().text("an object of size class ").number(class_size);
  }
  line.out().text(" at ").hex(number(object)).text(", in ");
  finish(line, caller);
}

PM_COLD void report_use_of_freed(const char* call, const void* p, size_t class_size, const void* caller) {
  Line line;
  class_text(line.out().text(call).text(" of freed ").hex(number(p)).text(" ("), class_size).text(") in ");
  finish(line, caller);
}

PM_COLD void report_file_memory(const char* call, const void* p, bool gone, const void* caller) {
  Line line;
  line.out().text(call).text(" of ").hex(number(p));
  line.out().text(gone ? ", whose file heap was destroyed, in " : ", which is free memory of a file heap, in ");
  finish(line, caller);
}

PM_COLD void report_other_heap(const char* call, const void* p, const void* caller) {
  Line line;
  line.out().text(call).text(" of ").hex(number(p)).text(", which does not belong to that heap, in ");
  finish(line, caller);
}

PM_COLD void report_sized(const void* p, size_t size, size_t class_size, const void* caller) {
  Line line;
  line.out().text("sized free of ").hex(number(p)).text(" with size ").number(size).text(" (");
  class_text(line.out(), class_size).text(") in ");
  finish(line, caller);
}

// The first few foreign pointers are looked up in the list of mappings: a stack, static data or no mapping at all is a
// misuse that can be named. Later ones go to the C library unseen (its own checks abort on nonsense): a program that
// does this for every object must not read /proc each time.
PM_COLD bool check_foreign(const void* p, const char* call, const void* caller) {
  constexpr uint64_t kLooks = 256;
  const uint64_t seen = foreign.fetch_add(1, std::memory_order_relaxed);
  if (seen >= kLooks) return true;
  os::Mapping mapping;
  Line line;
  line.out().text(call).text(" of ").hex(number(p)).text(", which ");
  if (!os::find_mapping(number(p), mapping)) {
    line.out().text("is not mapped, in ");
    finish(line, caller);
    return false;
  }
  const auto here = number(__builtin_frame_address(0));
  const bool on_stack = (mapping.start <= here && here < mapping.end) || text_equal(mapping.name, "[stack]");
  if (on_stack) {
    line.out().text("is on a stack, in ");
    finish(line, caller);
    return false;
  }
  // The C library's memory is its program break and anonymous mappings; a file's is neither.
  const bool file = mapping.name[0] != 0 && mapping.name[0] != '[';
  if (file || !mapping.writable) {
    line.out().text("belongs to ").text(mapping.name[0] != 0 ? mapping.name : "a read-only mapping").text(", in ");
    finish(line, caller);
    return false;
  }
  if (seen == 0) {
    Line note;
    note.out().hex(number(p)).text(" was not allocated here; ");
    library_text(note.out(), caller).text(" passed it to ").text(call).text("; handed to libc (reported once)");
    note.end();
  }
  return true;
}

uint64_t misuse_count() { return misuses.load(std::memory_order_relaxed); }
uint64_t foreign_count() { return foreign.load(std::memory_order_relaxed); }

}  // namespace pm
