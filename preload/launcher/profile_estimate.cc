#include "preload/launcher/profile_estimate.h"

namespace pm {
namespace {

template <typename Apply>
void for_each_pair(Amounts& left, const Amounts& right, Apply apply) {
  for (size_t i = 0; i < left.of.size(); ++i) apply(left.of[i], right.of[i]);
  for (size_t i = 0; i < left.live_by_age.size(); ++i) apply(left.live_by_age[i], right.live_by_age[i]);
}

}  // namespace

Amounts& Amounts::operator+=(const Amounts& other) {
  for_each_pair(*this, other, [](Amount& mine, const Amount& theirs) { mine += theirs; });
  return *this;
}

Amounts& Amounts::operator-=(const Amounts& other) {
  for_each_pair(*this, other, [](Amount& mine, const Amount& theirs) { mine -= theirs; });
  return *this;
}

double objects_per_sample(uint64_t size, uint64_t period) {
  if (period <= 1) return 1;
  // expm1 keeps the digits that 1 - exp() loses for objects much smaller than the period.
  return -1 / std::expm1(-static_cast<double>(size) / static_cast<double>(period));
}

Amount estimate(uint64_t samples, uint64_t size, uint64_t period) {
  const double each = objects_per_sample(size, period);
  const double bytes = static_cast<double>(size);
  Amount amount;
  amount.objects.value = static_cast<double>(samples) * each;
  // n (1 - q) / q^2 with q = 1 / each.
  amount.objects.variance = static_cast<double>(samples) * each * (each - 1);
  amount.bytes.value = amount.objects.value * bytes;
  amount.bytes.variance = amount.objects.variance * bytes * bytes;
  return amount;
}

Amounts estimate(const ProfileSite& site, uint64_t period) {
  const auto of_count = [&](uint64_t count) { return estimate(count, site.size, period); };
  Amounts amounts;
  amounts.of = {of_count(site.live), of_count(site.allocated), of_count(site.peak), of_count(site.temporary)};
  for (size_t i = 0; i < kAgeSteps; ++i) amounts.live_by_age[i] = of_count(site.ages[i]);
  return amounts;
}

}  // namespace pm
