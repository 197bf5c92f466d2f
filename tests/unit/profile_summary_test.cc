#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "heap/heap.h"
#include "profile/profile.h"
#include "profile/summary.h"
#include "tests/unit/layers.h"

namespace {

using namespace pm;

const void* here() { return reinterpret_cast<const void*>(&trim_heap); }

template <typename Body>
void with_heap(Body body) {
  for (const bool rseq : {true, false}) {
    INFO((rseq ? "rseq" : "locked"));
    test::in_fresh_process([&] {
      test::start_magazines(rseq);
      heap_view.small_limit = kMaxClassSize + 1;
      profile_configure(8 * kMiB);
      body();
    });
  }
}

using Objects = std::vector<void*>;

__attribute__((noinline)) Objects take(size_t count, size_t size) {
  Objects out;
  for (size_t i = 0; i < count; ++i) out.push_back(allocate(size));
  return out;
}

void give(const Objects& objects) {
  for (void* const p : objects) deallocate(p, here());
}

std::unique_ptr<ProfileSummary> summary() {
  auto out = std::make_unique<ProfileSummary>();
  profile_summarize(*out);
  return out;
}

// The row of the size; nullptr if it has none.
const RequestRow* request(const ProfileSummary& s, uint32_t size) {
  for (uint32_t i = 0; i < s.request_rows; ++i) {
    if (s.requests[i].size == size) return &s.requests[i];
  }
  return nullptr;
}

TEST_CASE("the sites that hold most, as they are now") {
  with_heap([] {
    EXPECT(summary()->site_rows == 0);
    EXPECT(profile_start(1) == 0);
    const Objects small = take(100, 64);
    const Objects middle = take(50, 2048);
    void* const large = allocate(1'000'000);
    auto s = summary();
    EXPECT(s->site_rows == 3);
    EXPECT(s->sites[0].size >= 1'000'000 && s->sites[0].bytes == s->sites[0].size && s->sites[0].samples == 1);
    EXPECT(s->sites[1].size == 2048 && s->sites[1].bytes == 50 * 2048 && s->sites[1].samples == 50);
    EXPECT(s->sites[2].size == 64 && s->sites[2].bytes == 6400);
    // The stack is the site's, its innermost frames.
    EXPECT(s->sites[1].frames >= 2 && s->sites[1].frames <= kSiteFrames);
    const auto function = reinterpret_cast<uintptr_t>(&take);
    bool inside = false;
    for (uint64_t i = 0; i < s->sites[1].frames; ++i) inside = inside || s->sites[1].stack[i] - function < 4096;
    EXPECT(inside);
    const uint64_t site = s->sites[1].site;
    deallocate(large, here());
    give(Objects(middle.begin(), middle.begin() + 49));
    s = summary();
    EXPECT(s->site_rows == 2 && s->sites[0].size == 64 && s->sites[1].site == site && s->sites[1].bytes == 2048);
    EXPECT(profile_stop() == 0);
    EXPECT(summary()->site_rows == 0 && summary()->request_rows == 0);
    // The next profile counts anew.
    EXPECT(profile_start(1) == 0);
    EXPECT(summary()->site_rows == 0 && summary()->request_rows == 0);
    give(small);
  });
}

TEST_CASE("of more sites than rows, the heaviest") {
  with_heap([] {
    EXPECT(profile_start(1) == 0);
    for (size_t i = 1; i <= kMaxSiteRows + 10; ++i) take(1, i * 16);
    const auto s = summary();
    EXPECT(s->site_rows == kMaxSiteRows);
    for (uint32_t i = 1; i < s->site_rows; ++i) EXPECT(s->sites[i].bytes <= s->sites[i - 1].bytes);
    EXPECT(s->sites[0].size == size_class(class_of((kMaxSiteRows + 10) * 16)).size);
  });
}

TEST_CASE("requests: what was asked for, where a class of that size would take less") {
  with_heap([] {
    EXPECT(profile_start(1) == 0);
    const Objects exact = take(40, 1024);
    const Objects wasting = take(30, 1040);
    const Objects odd = take(20, 1033);
    const Objects nothing = take(10, 0);
    const Objects beyond = take(10, kLargestRequest + 16);
    void* const aligned = allocate_aligned(64, 1040);  // no other class than its own would do
    auto s = summary();
    EXPECT(s->request_rows == 1);
    const RequestRow* row = request(*s, 1040);
    EXPECT(row != nullptr && row->samples == 50 && row->class_size == 1152);
    EXPECT(row->room == slab_room(1040) && row->class_room == slab_room(1152));
    // Wherever the request comes from: zeroed, grown, and from a magazine or past it.
    Objects more = {allocate_zeroed(1040), reallocate(allocate(100), 1040, here())};
    EXPECT(request(*summary(), 1040)->samples == 52);
    give(wasting);
    EXPECT(request(*summary(), 1040)->samples == 22);
    give(odd);
    give(more);
    EXPECT(summary()->request_rows == 0);
    // A class that wastes more at the end of its slabs than it saves is none.
    for (size_t size = 16; size <= kLargestRequest; size += 16) take(1, size);
    s = summary();
    EXPECT(s->request_rows == kMaxRequestRows);
    for (uint32_t i = 0; i < s->request_rows; ++i) EXPECT(s->requests[i].room < s->requests[i].class_room);
    deallocate(aligned, here());
    give(exact);
    give(nothing);
    give(beyond);
  });
}

TEST_CASE("samples stand for what they are among") {
  with_heap([] {
    EXPECT(profile_start(4096) == 0);
    take(20'000, 1040);
    const auto s = summary();
    const RequestRow* const row = request(*s, 1040);
    EXPECT(row != nullptr);
    // 20000 objects of 1152 bytes, one in four sampled: within six standard errors. From magazines and past them.
    double bytes = 0;
    uint64_t samples = 0;
    for (uint32_t i = 0; i < s->site_rows; ++i) {
      if (s->sites[i].size != 1152) continue;
      bytes += static_cast<double>(s->sites[i].bytes);
      samples += s->sites[i].samples;
    }
    const double truth = 20'000.0 * 1152;
    EXPECT(bytes > truth * 0.9 && bytes < truth * 1.1);
    EXPECT(row->samples == samples);
  });
}

TEST_CASE("others allocate and free meanwhile") {
  with_heap([] {
    EXPECT(profile_start(64) == 0);
    std::atomic<bool> stop{false};
    std::vector<std::thread> threads;
    for (int t = 0; t < 3; ++t) {
      threads.emplace_back([&stop] {
        while (!stop.load()) give(take(200, 1040));
      });
    }
    for (int i = 0; i < 300; ++i) {
      const auto s = summary();
      EXPECT(s->site_rows <= kMaxSiteRows && s->request_rows <= kMaxRequestRows);
      for (uint32_t k = 0; k < s->site_rows; ++k) EXPECT(s->sites[k].samples != 0 && s->sites[k].bytes != 0);
    }
    stop.store(true);
    for (std::thread& thread : threads) thread.join();
    profile_audit();
  });
}

}  // namespace
