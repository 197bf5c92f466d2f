#include "preload/launcher/class_advice.h"

#include <algorithm>
#include <array>
#include <limits>

namespace pm {
namespace {

constexpr double kSlabBytes = 64 * 1024;

// Requests of one size. Those that lie in the same class stand side by side: a new class of a size serves them all, up
// to that size and down to the next class below it.
struct Request {
  RequestRow row;
  Estimate objects;

  double saved_by(const RequestRow& size) const { return objects.value * (size.class_room - double(size.room)); }
};

std::vector<Request> requests_of(const PageBody& page) {
  std::vector<Request> requests;
  for (uint32_t i = 0; i < page.stamp.request_rows; ++i) {
    const RequestRow& row = page.requests[i];
    const bool sound = row.class_size > row.size && row.class_room > row.room && row.size != 0;
    if (!sound) continue;
    requests.push_back({row, estimate(row.samples, row.class_size, page.snapshot.profile_period_bytes).objects});
  }
  std::sort(requests.begin(), requests.end(),
            [](const Request& a, const Request& b) { return a.row.size < b.row.size; });
  return requests;
}

// The first request that a new class for request `at` would serve, if `below` is the next new class (-1: there is
// none).
size_t first_served(const std::vector<Request>& requests, int below, size_t at) {
  size_t first = at;
  while (first > static_cast<size_t>(below + 1) && requests[first - 1].row.class_size == requests[at].row.class_size) {
    --first;
  }
  return first;
}

}  // namespace

// By dynamic programming: the best of k classes of which the largest is for request j follows from the best of k - 1.
ClassAdvice find_classes(const PageBody& page) {
  const std::vector<Request> requests = requests_of(page);
  const int count = static_cast<int>(requests.size());
  const double price = std::max(kSlabBytes, static_cast<double>(page.snapshot.live_bytes) / 400);
  struct Best {
    double gain = -std::numeric_limits<double>::infinity();
    int below = -1;
  };
  std::array<std::vector<Best>, kMostAdvisedClasses> best;
  double most = 0;
  int last = -1;
  unsigned classes = 0;
  for (unsigned k = 0; k < kMostAdvisedClasses; ++k) {
    best[k].resize(requests.size());
    for (int j = 0; j < count; ++j) {
      const auto at = static_cast<size_t>(j);
      double gain = -price;
      size_t served = at + 1;
      for (int below = j - 1; below >= -1; --below) {
        const size_t first = first_served(requests, below, at);
        while (served > first) gain += requests[--served].saved_by(requests[at].row);
        const bool is_first = k == 0;
        if (is_first != (below == -1)) continue;
        const double whole = gain + (is_first ? 0 : best[k - 1][static_cast<size_t>(below)].gain);
        if (whole > best[k][at].gain) best[k][at] = {whole, below};
      }
      if (best[k][at].gain <= most) continue;
      most = best[k][at].gain;
      last = j;
      classes = k;
    }
  }
  ClassAdvice advice;
  while (last >= 0) {
    const int below = best[classes][static_cast<size_t>(last)].below;
    const RequestRow& chosen = requests[static_cast<size_t>(last)].row;
    advice.sizes.push_back(chosen.size);
    const double less = chosen.class_room - double(chosen.room);
    for (size_t i = first_served(requests, below, static_cast<size_t>(last)); i <= static_cast<size_t>(last); ++i) {
      advice.saved += {requests[i].objects.value * less, requests[i].objects.variance * less * less};
    }
    last = below;
    if (classes > 0) --classes;
  }
  std::reverse(advice.sizes.begin(), advice.sizes.end());
  return advice;
}

bool is_worthwhile(const ClassAdvice& advice, const PageBody& page) {
  return advice.saved.value * 50 > static_cast<double>(page.snapshot.live_bytes) &&
         advice.saved.value > advice.saved.error();
}

}  // namespace pm
