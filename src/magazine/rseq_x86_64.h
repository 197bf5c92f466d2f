// The restartable sequences on a CPU's magazines, x86-64.
//
// Each runs between a start label and a commit: one store that makes it visible. If the thread is preempted, migrated
// or interrupted in between, the kernel sends it to the abort label, which starts over. Until the commit nothing is
// written but slots above top and hints, which nobody reads as objects. So each sequence happens as a whole on one CPU,
// without a locked instruction (P. Turner and A. Hunter's design; rseq(2)).
//
// Rules kept here: the only field of the kernel's area that is written is rseq_cs; the abort handler has a section of
// its own and the signature before it; every `asm goto` is volatile (g++ 12 drops one whose outputs are unused).
//
// The descriptors hold addresses, so they need relocation: no sequence runs before the library is relocated (the heap
// routes all calls to its cold path until it is ready).
//
// All of them are inlined for certain: a copy in a section that the linker may drop (an inline function of two files)
// would leave its descriptor behind.
//
// PM_INJECT lengthens every sequence between its first load and its commit in the `inject` build, so that preemption
// inside them is common; it is empty otherwise.
#pragma once

#include "magazine/block.h"
#include "os/cpu.h"

#if defined(__x86_64__) && !defined(POOLMALLOC_NO_RSEQ)
#define PM_HAS_RSEQ 1
#else
#define PM_HAS_RSEQ 0
#endif

namespace pm {

// The blocks, one for each index: a CPU number or, by option, a concurrency id. magazine_cpus is their number, 0 until
// the magazines are ready; it bounds every number the kernel can give (os::possible_cpus).
extern PM_SHARED char* magazine_blocks;
extern PM_SHARED uint32_t magazine_cpus;
// The blocks that pop and push look at, by CPU number. The same, unless concurrency ids are in use: then blocks that
// stay empty, so that every call goes on to the cold path, which asks for the id. Below the first lie two more that
// stay empty, for threads that are not registered: their CPU reads as -1 or -2.
extern PM_SHARED char* hot_blocks;

#if defined(POOLMALLOC_INJECT)
extern "C" uint64_t pm_inject_delay;  // turns of an empty loop inside each sequence; the tests vary it
#define PM_INJECT                                   \
  "  movq pm_inject_delay@GOTPCREL(%%rip), %%r11\n" \
  "  movq (%%r11), %%r11\n"                         \
  "71:\n"                                           \
  "  testq %%r11, %%r11\n"                          \
  "  je 72f\n"                                      \
  "  decq %%r11\n"                                  \
  "  jmp 71b\n"                                     \
  "72:\n"
#define PM_INJECT_CLOBBERS , "r11"
#else
#define PM_INJECT ""
#define PM_INJECT_CLOBBERS
#endif

#if PM_HAS_RSEQ

// The descriptor (struct rseq_cs): labels 1 start, 2 after the commit, 4 abort.
#define PM_RSEQ_BEGIN                                                                      \
  "  .pushsection .data.rel.ro.pm_rseq, \"aw\"\n"                                          \
  "  .balign 32\n"                                                                         \
  "3:\n"                                                                                   \
  "  .long 0, 0\n"                                                                         \
  "  .quad 1f, 2f - 1f, 4f\n"                                                              \
  "  .popsection\n"                                                                        \
  "  .pushsection .text.pm_rseq_abort, \"ax\"\n"                                           \
  "  .byte 0x0f, 0xb9, 0x3d\n" /* ud1 with the signature as its operand, never executed */ \
  "  .long 0x53053053\n"                                                                   \
  "4:\n"                                                                                   \
  "  jmp 5f\n"                                                                             \
  "  .popsection\n"                                                                        \
  "5:\n"                                                                                   \
  "  movq %[area], %[t]\n"                                                                 \
  "  leaq 3b(%%rip), %[block]\n"                                                           \
  "  movq %[block], %%fs:8(%[t])\n"                                                        \
  "1:\n"

// block = address of this CPU's block, by the number in cpu_id.
#define PM_RSEQ_THIS_BLOCK            \
  "  movslq %%fs:4(%[t]), %[block]\n" \
  "  shlq $19, %[block]\n"            \
  "  addq %[blocks], %[block]\n"

// block = that of the index `want`, if the thread's CPU (or concurrency id) has it; else out to `label`.
#define PM_RSEQ_BLOCK_OF(label)     \
  "  movq %[cpu], %[t]\n"           \
  "  movl %%fs:(%[t]), %k[block]\n" \
  "  cmpl %[want], %k[block]\n"     \
  "  jne " label                    \
  "\n"                              \
  "  shlq $19, %[block]\n"          \
  "  addq %[blocks], %[block]\n"

static_assert(kBlockShift == 19);

// pop(class):
//   block = blocks[cpu]
//   top = top(block.words[class])
//   object = block.slots[top]
//   if object == null: return empty             (the sentinel: empty or closed)
//   if object == block.slots[top - 2]: return empty        (it was freed twice; below the sentinel lies the wall of
//                                                          another array)
//   commit block.words[class]: top - 1, pops + 1   (+ 0xffff)
//   if that carried out of the word: return sampled        (behind the sequence: flags are the thread's own)
// What is returned of a sampled one goes through memory, because clang 14 knows no other outputs on such a path; nor
// these, if one believes its warning, which takes no notice of what the constraint says.
#if defined(__clang__)
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wsometimes-uninitialized"
#endif
PM_HOT Pop rseq_pop(ClassId id, Popped& out) {
  void* object;
  void* sampled_object;
  uint64_t block, t, sampled_block;
  const uint64_t c = id;
  asm volatile goto(PM_RSEQ_BEGIN PM_RSEQ_THIS_BLOCK
                    "  movzwl 64(%[block],%[c],8), %k[t]\n"
                    "  movq (%[block],%[t],8), %[object]\n" PM_INJECT
                    "  testq %[object], %[object]\n"
                    "  je %l[empty]\n"
                    "  cmpq -16(%[block],%[t],8), %[object]\n"
                    "  je %l[empty]\n"
                    "  addq $0xffff, 64(%[block],%[c],8)\n"
                    "2:\n"
                    "  jc 8f\n"
                    "  .pushsection .text.pm_sampled, \"ax\"\n"
                    "8:\n"
                    "  movq %[object], %[sampled_object]\n"
                    "  movq %[block], %[sampled_block]\n"
                    "  jmp %l[sampled]\n"
                    "  .popsection\n"
                    : [object] "=&a"(object), [block] "=&r"(block), [t] "=&r"(t), [sampled_object] "=m"(sampled_object),
                      [sampled_block] "=m"(sampled_block)
                    : [c] "r"(c), [area] "m"(os::rseq_area_offset), [blocks] "m"(hot_blocks)
                    : "memory", "cc" PM_INJECT_CLOBBERS
                    : empty, sampled);
  out.object = object;
  return Pop::done;
empty:
  return Pop::empty;
sampled:
  out.object = sampled_object;
  out.block = reinterpret_cast<CpuBlock*>(sampled_block);
  return Pop::sampled;
}
#if defined(__clang__)
#pragma clang diagnostic pop
#endif

// push(class, p):
//   block = blocks[cpu]
//   o = low 16 bits of p                        (its offset in the granule: the region starts at a multiple of one)
//   divisor = block.limits[class].divisor       (before the word: see "open" in layout.h)
//   if uint32(o * divisor) >= divisor: return suspect      (no multiple of the class's size, or the magazine cannot
//                                                          tell, or it is closed)
//   top = top(block.words[class])
//   if block.slots[top] == p, or block.slots[top + 1] is odd: return full    (freed a moment ago; the wall)
//   block.slots[top + 1] = p
//   commit block.words[class]: top + 1
// The caller looks closer at a suspect, and at what is full. The two looks at slots share a jump: bt leaves the flag of
// the comparison alone.
//
// The commits are instructions that read, add and write (one instruction, so a sequence cannot be split there). Only a
// drain from another CPU writes the word besides; what it makes of a pop that commits across its exchange is told in
// layout.cc.
PM_HOT Push rseq_push(ClassId id, void* p) {
  uint64_t block, t;
  const uint64_t c = id;
  asm volatile goto(PM_RSEQ_BEGIN PM_RSEQ_THIS_BLOCK
                    "  movzwl %w[p], %k[t]\n"
                    "  imull 1092(%[block],%[c],8), %k[t]\n"
                    "  cmpl 1092(%[block],%[c],8), %k[t]\n"
                    "  jae %l[suspect]\n"
                    "  movzwl 64(%[block],%[c],8), %k[t]\n" PM_INJECT
                    "  cmpq %[p], (%[block],%[t],8)\n"
                    "  btl $0, 8(%[block],%[t],8)\n"
                    "  jbe %l[full]\n"
                    "  movq %[p], 8(%[block],%[t],8)\n"
                    "  incq 64(%[block],%[c],8)\n"
                    "2:\n"
                    : [block] "=&r"(block), [t] "=&r"(t)
                    : [c] "r"(c), [p] "r"(p), [area] "m"(os::rseq_area_offset), [blocks] "m"(hot_blocks)
                    : "memory", "cc" PM_INJECT_CLOBBERS
                    : full, suspect);
  return Push::done;
full:
  return Push::full;
suspect:
  return Push::suspect;
}

// The same for an object whose start the caller has tested; it is dear enough to be compared with four slots. Whether
// the magazine is closed is told by its end here: where the caller has to test, the divisor is 0.
PM_HOT Push rseq_push_start(ClassId id, void* p) {
  uint64_t block, t;
  const uint64_t c = id;
  asm volatile goto(PM_RSEQ_BEGIN PM_RSEQ_THIS_BLOCK
                    "  movzwl 1088(%[block],%[c],8), %k[t]\n"
                    "  cmpw %w[t], 64(%[block],%[c],8)\n"
                    "  movzwl 64(%[block],%[c],8), %k[t]\n"
                    "  jae %l[full]\n" PM_INJECT
                    "  cmpq %[p], (%[block],%[t],8)\n"
                    "  je %l[full]\n"
                    "  cmpq %[p], -8(%[block],%[t],8)\n"
                    "  je %l[full]\n"
                    "  cmpq %[p], -16(%[block],%[t],8)\n"
                    "  je %l[full]\n"
                    "  cmpq %[p], -24(%[block],%[t],8)\n"
                    "  je %l[full]\n"
                    "  movq %[p], 8(%[block],%[t],8)\n"
                    "  incq 64(%[block],%[c],8)\n"
                    "2:\n"
                    : [block] "=&r"(block), [t] "=&r"(t)
                    : [c] "r"(c), [p] "r"(p), [area] "m"(os::rseq_area_offset), [blocks] "m"(hot_blocks)
                    : "memory", "cc" PM_INJECT_CLOBBERS
                    : full);
  return Push::done;
full:
  return Push::full;
}

// push_batch(cpu, class, objects, n): returns how many of objects[0..n) went in, the last on top; 0 on another CPU.
//   room = end - top; n = min(n, room)
//   block.slots[top+1 .. top+n] = objects[0..n)
//   commit block.words[class]: top + n
PM_HOT uint32_t rseq_push_batch(uint32_t want, ClassId id, void* const* objects, uint32_t n) {
  uint64_t block, word, t, i;
  uint64_t count = n;
  const uint64_t c = id;
  asm volatile goto(
      PM_RSEQ_BEGIN PM_RSEQ_BLOCK_OF("%l[full]")
      "  movzwl 1088(%[block],%[c],8), %k[i]\n"
      "  movq 64(%[block],%[c],8), %[word]\n"
      "  movzwl %w[word], %k[t]\n"
      "  subl %k[t], %k[i]\n"
      "  jbe %l[full]\n"
      "  cmpq %[wanted], %[i]\n"
      "  cmovaq %[wanted], %[i]\n"
      "  movq %[i], %[count]\n"
      "  leaq 8(%[block],%[t],8), %[block]\n"
      "6:\n"
      "  movq -8(%[objects],%[i],8), %[t]\n"
      "  movq %[t], -8(%[block],%[i],8)\n"
      "  decq %[i]\n"
      "  jne 6b\n"
      PM_INJECT
      "  addq %[count], %[word]\n"
      "  movl %[want], %k[block]\n"
      "  shlq $19, %[block]\n"
      "  addq %[blocks], %[block]\n"
      "  movq %[word], 64(%[block],%[c],8)\n"
      "2:\n"
      : [block] "=&r"(block), [word] "=&r"(word), [t] "=&r"(t), [i] "=&r"(i), [count] "=&r"(count)
      : [c] "r"(c), [objects] "r"(objects), [wanted] "r"(uint64_t{n}), [want] "m"(want), [area] "m"(os::rseq_area_offset),
        [cpu] "m"(os::rseq_cpu_offset), [blocks] "m"(magazine_blocks)
      : "memory", "cc" PM_INJECT_CLOBBERS
      : full);
  return static_cast<uint32_t>(count);
full:
  return 0;
}

// pop_batch(cpu, class, out, n): returns how many objects it moved to out, the topmost first; 0 on another CPU.
//   n = min(n, top - begin)
//   out[0..n) = block.slots[top], block.slots[top-1], ...
//   commit block.words[class]: top - n
// `begin` is read in the sequence: the magazine may have moved since the caller looked. A top below it, or 0xffff,
// means that a drain has the magazine.
PM_HOT uint32_t rseq_pop_batch(uint32_t want, ClassId id, void** out, uint32_t n) {
  uint64_t block, word, t, i, v;
  uint64_t count;
  const uint64_t c = id;
  asm volatile goto(
      PM_RSEQ_BEGIN PM_RSEQ_BLOCK_OF("%l[empty]")
      "  movq 64(%[block],%[c],8), %[word]\n"
      "  movzwl %w[word], %k[i]\n"
      "  leaq (%[block],%[i],8), %[t]\n"
      "  cmpl $0xffff, %k[i]\n"
      "  je %l[empty]\n"
      "  movzwl (%[block],%[begin]), %k[v]\n"
      "  subl %k[v], %k[i]\n"
      "  jbe %l[empty]\n"
      "  cmpq %[wanted], %[i]\n"
      "  cmovaq %[wanted], %[i]\n"
      "  movq %[i], %[count]\n"
      "  negq %[i]\n"
      "  leaq (%[out],%[count],8), %[block]\n"
      "6:\n"
      "  movq (%[t]), %[v]\n"
      "  movq %[v], (%[block],%[i],8)\n"
      "  subq $8, %[t]\n"
      "  incq %[i]\n"
      "  jne 6b\n"
      PM_INJECT
      "  subq %[count], %[word]\n"
      "  movl %[want], %k[block]\n"
      "  shlq $19, %[block]\n"
      "  addq %[blocks], %[block]\n"
      "  movq %[word], 64(%[block],%[c],8)\n"
      "2:\n"
      : [block] "=&r"(block), [word] "=&r"(word), [t] "=&r"(t), [i] "=&r"(i), [count] "=&r"(count), [v] "=&r"(v)
      : [c] "r"(c), [out] "r"(out), [wanted] "r"(uint64_t{n}), [begin] "r"(begin_offset(id)), [want] "m"(want),
        [area] "m"(os::rseq_area_offset), [cpu] "m"(os::rseq_cpu_offset), [blocks] "m"(magazine_blocks)
      : "memory", "cc" PM_INJECT_CLOBBERS
      : empty);
  return static_cast<uint32_t>(count);
empty:
  return 0;
}

// set_limits(cpu, class, limits): commit block.limits[class]: limits. False on another CPU. Afterwards no push that
// read the old ones can commit on this CPU: it was preempted for this thread to run, so it starts over.
PM_HOT bool rseq_set_limits(uint32_t want, ClassId id, uint64_t limits) {
  uint64_t block, t;
  const uint64_t c = id;
  asm volatile goto(
      PM_RSEQ_BEGIN PM_RSEQ_BLOCK_OF("%l[elsewhere]")
      "  movq %[limits], 1088(%[block],%[c],8)\n"
      "2:\n"
      : [block] "=&r"(block), [t] "=&r"(t)
      : [c] "r"(c), [limits] "r"(limits), [want] "m"(want), [area] "m"(os::rseq_area_offset),
        [cpu] "m"(os::rseq_cpu_offset), [blocks] "m"(magazine_blocks)
      : "memory", "cc" PM_INJECT_CLOBBERS
      : elsewhere);
  return true;
elsewhere:
  return false;
}

// replace(cpu, class, expected, desired): if the magazine is open and its word is `expected`, commit the word: desired.
// False otherwise, and on another CPU.
PM_HOT bool rseq_replace(uint32_t want, ClassId id, uint64_t expected, uint64_t desired) {
  uint64_t block, t;
  const uint64_t c = id;
  asm volatile goto(
      PM_RSEQ_BEGIN PM_RSEQ_BLOCK_OF("%l[failed]")
      "  cmpw $0, 1088(%[block],%[c],8)\n"
      "  je %l[failed]\n"
      "  cmpq %[expected], 64(%[block],%[c],8)\n"
      "  jne %l[failed]\n" PM_INJECT
      "  movq %[desired], 64(%[block],%[c],8)\n"
      "2:\n"
      : [block] "=&r"(block), [t] "=&r"(t)
      : [c] "r"(c), [expected] "r"(expected), [desired] "r"(desired), [want] "m"(want),
        [area] "m"(os::rseq_area_offset), [cpu] "m"(os::rseq_cpu_offset), [blocks] "m"(magazine_blocks)
      : "memory", "cc" PM_INJECT_CLOBBERS
      : failed);
  return true;
failed:
  return false;
}

static_assert(kLimitsOffset == 1088 && sizeof(MagazineLimits) == 8, "spelled out above");
static_assert(MagazineLimits::pack(1, 0) == 1 && MagazineLimits::pack(0, 1) == uint64_t{1} << 32, "likewise");
static_assert(kWordsOffset == 64, "spelled out above");

#endif  // PM_HAS_RSEQ

}  // namespace pm
