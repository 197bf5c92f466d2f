#include "preload/launcher/class_advice.h"

#include <memory>
#include <random>

#include "slab/size_class.h"
#include "tests/catch.h"

namespace {

using namespace pm;

constexpr uint64_t kMiB = 1 << 20;

// A page of a process with so much in use whose profile counts every allocation.
std::unique_ptr<PageBody> page_with(uint64_t live_bytes) {
  auto page = std::make_unique<PageBody>();
  page->snapshot.live_bytes = live_bytes;
  page->snapshot.profile_period_bytes = 1;
  return page;
}

void add(PageBody& page, uint32_t size, uint32_t samples) {
  const uint32_t served_by = size_class(class_of(size)).size;
  page.requests[page.stamp.request_rows++] = {size, samples, slab_room(size), served_by, slab_room(served_by), 0};
}

// What the classes save, each above its price, counted object by object.
double gain_of(const PageBody& page, const std::vector<uint32_t>& sizes, double price) {
  double gain = -price * static_cast<double>(sizes.size());
  for (uint32_t i = 0; i < page.stamp.request_rows; ++i) {
    const RequestRow& row = page.requests[i];
    for (const uint32_t size : sizes) {  // rising: the first that fits serves
      if (size < row.size || size >= row.class_size) continue;
      gain += row.samples * (double(row.class_room) - slab_room(size));
      break;
    }
  }
  return gain;
}

TEST_CASE("one size that is asked for often is a class") {
  const auto page = page_with(100 * kMiB);
  CHECK(find_classes(*page).sizes.empty());
  add(*page, 1040, 90'000);
  add(*page, 1056, 10);
  const ClassAdvice advice = find_classes(*page);
  CHECK(advice.sizes == std::vector<uint32_t>{1040});
  CHECK(advice.saved.value == 90'000.0 * (slab_room(1152) - slab_room(1040)));
  CHECK(advice.saved.variance == 0);
  CHECK(is_worthwhile(advice, *page));
}

TEST_CASE("what saves less than a slab, or a four-hundredth, is left out") {
  const auto page = page_with(10 * kMiB);
  add(*page, 1040, 500);
  CHECK(find_classes(*page).sizes.empty());
  add(*page, 2064, 500);
  CHECK(find_classes(*page).sizes == std::vector<uint32_t>{2064});
  page->snapshot.live_bytes = 400 * kMiB;
  CHECK(find_classes(*page).sizes.empty());
}

TEST_CASE("worthwhile is more than a fiftieth and more than the error") {
  const auto page = page_with(100 * kMiB);
  CHECK(!is_worthwhile({{1040}, {1.9 * kMiB, 0}}, *page));
  CHECK(is_worthwhile({{1040}, {2.1 * kMiB, 0}}, *page));
  CHECK(!is_worthwhile({{1040}, {2.1 * kMiB, 4.5 * kMiB * kMiB}}, *page));
}

TEST_CASE("samples are scaled by the size of the class, and err") {
  const auto page = page_with(100 * kMiB);
  page->snapshot.profile_period_bytes = 512 * 1024;
  add(*page, 1040, 200);
  const ClassAdvice advice = find_classes(*page);
  const double less = slab_room(1152) - slab_room(1040);
  const Estimate objects = estimate(200, 1152, 512 * 1024).objects;
  CHECK(advice.saved.value == objects.value * less);
  CHECK(advice.saved.error() == objects.error() * less);
}

TEST_CASE("nothing is better than what is found") {
  std::mt19937 random(7);
  for (int round = 0; round < 30; ++round) {
    const auto page = page_with(kMiB);
    constexpr double kPrice = 64 * 1024;
    std::vector<uint32_t> sizes;
    for (uint32_t size = 1024; sizes.size() < 12;) {
      size += 16 * (1 + static_cast<uint32_t>(random() % 6));
      if (slab_room(size) >= slab_room(size_class(class_of(size)).size)) continue;
      sizes.push_back(size);
      add(*page, size, static_cast<uint32_t>(random() % 4000));
    }
    // All choices of at most eight.
    double best = 0;
    for (unsigned chosen = 0; chosen < 1U << sizes.size(); ++chosen) {
      if (__builtin_popcount(chosen) > static_cast<int>(kMostAdvisedClasses)) continue;
      std::vector<uint32_t> some;
      for (unsigned i = 0; i < sizes.size(); ++i) {
        if ((chosen >> i & 1U) != 0) some.push_back(sizes[i]);
      }
      best = std::max(best, gain_of(*page, some, kPrice));
    }
    const ClassAdvice advice = find_classes(*page);
    CHECK(advice.sizes.size() <= kMostAdvisedClasses);
    CHECK(gain_of(*page, advice.sizes, kPrice) == best);
    CHECK(advice.saved.value == gain_of(*page, advice.sizes, 0));
  }
}

TEST_CASE("rows that make no sense are not believed") {
  const auto page = page_with(kMiB);
  page->stamp.request_rows = 3;
  page->requests[0] = {0, 1'000'000, 0, 1152, 1171, 0};
  page->requests[1] = {1040, 1'000'000, 2000, 1152, 1171, 0};
  page->requests[2] = {1200, 1'000'000, 100, 1152, 1171, 0};
  CHECK(find_classes(*page).sizes.empty());
}

}  // namespace
