#include "reclaim/executor.h"

#include "magazine/depot.h"
#include "metrics/events.h"
#include "os/process.h"
#include "os/thread.h"
#include "page/collapse.h"
#include "slab/slab.h"

namespace pm {

ReclaimCounters reclaim_counters = {};

namespace {

// The goal is what the plan's budget of time allows for; a block that turns out dear ends it.
size_t collapse_dense(uint64_t goal) {
  constexpr uint64_t kMostNs = 5'000'000;
  const uint64_t blocks = goal / kBlockBytes;
  return page_collapse({.blocks = blocks < UINT32_MAX ? static_cast<uint32_t>(blocks) : UINT32_MAX,
                        .nanoseconds = kMostNs,
                        .at_once = false});
}

}  // namespace

const ReclaimLayers kRealLayers = {
    .block_count = magazine_block_count,
    .block_use = magazine_use,
    .drain_block = magazine_drain_block,
    .depot_bytes = depot_bytes,
    .drain_depot = depot_drain,
    .empty_slab_bytes = slab_empty_bytes,
    .release_slabs = slab_trim,
    .dirty = page_dirty,
    .decommit = page_trim,
    .decommit_slabs = slab_decommit,
    .collapsible_bytes = collapsible_bytes,
    .collapse = collapse_dense,
    .prefault = page_prefault,
    .refault_ns = page_measure_refault,
    .clock_ns = os::monotonic_ns,
    .cpu_ns = os::thread_cpu_ns,
};

namespace {

void add(std::atomic<uint64_t>& counter, uint64_t n) { counter.fetch_add(n, std::memory_order_relaxed); }

// A price moves a quarter of the way to each new measurement, so that one odd value does not decide.
void learn(uint64_t& price, uint64_t ns, uint64_t bytes) {
  if (bytes < kMiB / 4) return;  // too little to tell from the call itself
  const uint64_t measured = ns * kMiB / bytes;
  price = price - price / 4 + measured / 4;
}

// For the list of events; what did nothing is none.
void note(EventKind kind, uint64_t bytes, Reason reason) {
  if (bytes != 0) record_event(kind, bytes, static_cast<uint8_t>(reason));
}

}  // namespace

void count_released(Reason reason, uint64_t bytes) {
  add(reclaim_counters.released_bytes[static_cast<unsigned>(reason)], bytes);
}

uint32_t Executor::known_blocks() {
  const uint32_t blocks = layers_->block_count();
  while (looks_known_ < blocks && looks_known_ < kMostBlocks) looks_[looks_known_++] = {};
  return blocks < kMostBlocks ? blocks : kMostBlocks;
}

Holdings Executor::look(uint64_t sparse_bytes) {
  Holdings out = {};
  const uint64_t now = layers_->clock_ns();
  const uint32_t blocks = known_blocks();
  for (uint32_t i = 0; i < blocks; ++i) {
    MagazineUse use;
    if (!layers_->block_use(i, use)) continue;
    if (looks_[i].activity != use.activity || looks_[i].since_ns == 0) looks_[i] = {use.activity, now};
    out.magazine_bytes += use.bytes;
  }
  out.depot_bytes = layers_->depot_bytes();
  out.empty_slab_bytes = layers_->empty_slab_bytes();
  const DirtyFigures dirty = layers_->dirty();
  out.dirty_block_bytes = dirty.block_bytes;
  out.dirty_run_bytes = dirty.run_bytes + sparse_bytes;
  out.dirty_bytes = out.dirty_block_bytes + out.dirty_run_bytes;
  out.small_page_bytes = layers_->collapsible_bytes();
  return out;
}

uint64_t Executor::drain(uint64_t goal, Reason reason) {
  // Emptying the magazines of a CPU at work costs its threads a refill a class: only where memory is worth more.
  const bool busy_too = reason == Reason::limit_near || reason == Reason::emergency || reason == Reason::requested;
  const uint64_t now = layers_->clock_ns();
  const uint32_t blocks = known_blocks();
  uint64_t moved = 0;
  for (unsigned pass = 0; pass < (busy_too ? 2U : 1U); ++pass) {
    for (uint32_t i = 0; i < blocks && moved < goal; ++i) {
      MagazineUse use;
      if (!layers_->block_use(i, use) || use.bytes == 0) continue;
      const bool idle =
          looks_[i].since_ns != 0 && use.activity == looks_[i].activity && now - looks_[i].since_ns >= kIdleNs;
      if (pass == 0 && !idle) continue;
      moved += layers_->drain_block(i);
      // The drain changed the counters itself.
      if (layers_->block_use(i, use)) looks_[i].activity = use.activity;
    }
  }
  if (moved < goal) moved += layers_->drain_depot(goal - moved);
  add(reclaim_counters.drained_bytes, moved);
  note(EventKind::drain, moved, reason);
  return moved;
}

uint64_t Executor::decommit(const Step& step, TrimScope scope, GoOn go_on, void* context) {
  uint64_t given = 0;
  while (given < step.goal_bytes && go_on(context, step.reason)) {
    const uint64_t left = step.goal_bytes - given;
    const uint64_t before = layers_->cpu_ns();
    const uint64_t now = layers_->decommit(left < kSliceBytes ? left : kSliceBytes, scope);
    learn(prices_.decommit_ns_per_mib, layers_->cpu_ns() - before, now);
    if (now == 0) break;
    count_released(step.reason, now);
    given += now;
  }
  // The rest of the runs are free pages of sparse slabs.
  if (given < step.goal_bytes && scope == TrimScope::everything && go_on(context, step.reason)) {
    const uint64_t sparse = layers_->decommit_slabs(step.goal_bytes - given);
    if (sparse < step.goal_bytes - given) ++slabs_exhausted_;
    count_released(step.reason, sparse);
    given += sparse;
  }
  note(EventKind::decommit, given, step.reason);
  return given;
}

void Executor::collapse(uint64_t goal) {
  const uint64_t before = layers_->cpu_ns();
  const size_t gained = layers_->collapse(goal);
  learn(prices_.collapse_ns_per_mib, layers_->cpu_ns() - before, gained);
  add(reclaim_counters.collapsed_bytes, gained);
  note(EventKind::collapse, gained, Reason::dense);
}

void Executor::prefault(uint64_t goal) {
  const uint64_t touched = layers_->prefault(goal);
  add(reclaim_counters.prefaulted_bytes, touched);
  note(EventKind::prefault, touched, Reason::demand_ahead);
}

uint64_t Executor::carry_out(const Plan& plan, GoOn go_on, void* context) {
  uint64_t given = 0;
  for (unsigned i = 0; i < plan.count && i < kMaxSteps; ++i) {
    const Step& step = plan.steps[i];
    if (!go_on(context, step.reason)) break;
    add(reclaim_counters.steps, 1);
    switch (step.action) {
      case Action::drain_caches: drain(step.goal_bytes, step.reason); break;
      case Action::release_slabs: layers_->release_slabs(); break;
      case Action::decommit_blocks: given += decommit(step, TrimScope::blocks, go_on, context); break;
      case Action::decommit_runs: given += decommit(step, TrimScope::everything, go_on, context); break;
      case Action::prefault: prefault(step.goal_bytes); break;
      case Action::collapse: collapse(step.goal_bytes); break;
      case Action::notify: break;  // the caller's
    }
  }
  return given;
}

uint64_t release_now(const ReclaimLayers& layers, uint64_t goal, Reason reason) {
  uint64_t given = layers.decommit(goal, TrimScope::everything);
  if (given < goal) {
    for (uint32_t i = 0; i < layers.block_count(); ++i) add(reclaim_counters.drained_bytes, layers.drain_block(i));
    add(reclaim_counters.drained_bytes, layers.drain_depot(SIZE_MAX));
    layers.release_slabs();
    given += layers.decommit(goal - given, TrimScope::everything);
  }
  if (given < goal) given += layers.decommit_slabs(goal - given);
  count_released(reason, given);
  note(EventKind::decommit, given, reason);
  return given;
}

void Executor::measure_refault() {
  const uint64_t ns = layers_->refault_ns();
  if (ns != 0) learn(prices_.refault_ns_per_mib, ns, kBlockBytes);
}

}  // namespace pm
