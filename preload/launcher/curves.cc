#include "preload/launcher/curves.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <utility>

namespace pm {

namespace {

constexpr double kMega = 1e6;
constexpr double kMostPoints = 1e7;
constexpr double kPi = 3.14159265358979323846;

// Our own generator and distributions, because the standard ones may differ between libraries. (splitmix64)
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  double uniform(double low, double high) { return low + (high - low) * unit(); }
  double normal() {
    double sum = -6;
    for (int i = 0; i < 12; ++i) sum += unit();
    return sum;
  }
  double exponential(double mean) { return -mean * std::log(1 - unit()); }

 private:
  double unit() {
    state_ += 0x9e3779b97f4a7c15U;
    uint64_t x = state_;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
    return static_cast<double>((x ^ (x >> 31)) >> 11) * 0x1p-53;
  }

  uint64_t state_;
};

// A family: given what the curve asks for, a function from time (rising by `step` from call to call) to megabytes held.
struct Setting {
  double seconds;
  double step;
  Random& random;
  double limit;  // megabytes; the family may move it
};
using Shape = std::function<double(double)>;

// The length of each phase varies by a few per cent, and what a phase holds as well, as in a program that does work.
Shape square(Setting& setting, double period, double growth) {
  struct State {
    double next, level, phase_level;
    bool high;
  };
  const double low = setting.random.uniform(80, 120);
  const double high = growth > 0 ? setting.random.uniform(200, 280) : setting.random.uniform(350, 430);
  const double share = setting.random.uniform(0.35, 0.65);
  State state{setting.random.uniform(0, period / 2), low, low, false};
  return [=, &random = setting.random](double time) mutable {
    while (time >= state.next) {
      state.high = !state.high;
      const double length = period * (state.high ? share : 1 - share);
      state.next += length * (1 + 0.01 * random.normal());
      const double grown = high * (1 + growth * time);
      state.phase_level = (state.high ? grown : low) * (1 + 0.02 * random.normal());
    }
    return state.phase_level;
  };
}

Shape sine(Setting& setting, double period) {
  const double middle = setting.random.uniform(200, 260);
  const double amplitude = setting.random.uniform(80, 150);
  const double phase = setting.random.uniform(0, 2 * kPi);
  return [=](double time) { return middle + amplitude * std::sin(2 * kPi * time / period + phase); };
}

// From `start` seconds on a straight line that meets the limit `length` seconds later.
Shape line_to_limit(const Setting& setting, double base, double start, double length) {
  const double slope = (setting.limit - base) / length;
  return [=](double time) { return base + slope * std::max(0.0, time - start); };
}

// Garbage piles up and is collected, `leak` of it a second is not; the collections come when the pile is full.
Shape saw(Setting& setting, double leak) {
  const double period = setting.random.uniform(8, 40);
  const double height = setting.random.uniform(60, 160);
  const double base = setting.random.uniform(120, 180);
  double pile = setting.random.uniform(0, height);
  double rate = height / period;
  double retained = 0;
  double last = 0;
  return [=, &random = setting.random](double time) mutable {
    pile += rate * (time - last);
    retained += leak * (time - last);
    last = time;
    if (pile > height) {
      pile -= height;
      rate = height / period * (1 + 0.04 * random.normal());
    }
    return base + pile + retained;
  };
}

Shape random_walk(Setting& setting) {
  double value = setting.random.uniform(200, 300);
  const double stride = setting.random.uniform(1, 3) * std::sqrt(setting.step / 0.5);
  return [=, &random = setting.random](double) mutable {
    value += stride * random.normal();
    if (value < 50) value = 100 - value;
    if (value > 450) value = 900 - value;
    return value;
  };
}

// Requests arrive at random; each holds memory for a random time.
Shape bursts(Setting& setting) {
  const double between = setting.random.uniform(8, 25);
  const double length = setting.random.uniform(4, 12);
  const double size = setting.random.uniform(30, 80);
  std::vector<std::pair<double, double>> live;  // until when, how much
  double next = setting.random.exponential(between);
  return [=, &random = setting.random](double time) mutable {
    for (; time >= next; next += random.exponential(between)) {
      live.emplace_back(next + random.exponential(length), size * random.uniform(0.5, 1.5));
    }
    std::erase_if(live, [&](const auto& one) { return one.first <= time; });
    double sum = 100;
    for (const auto& one : live) sum += one.second;
    return sum;
  };
}

Shape spike(Setting& setting) {
  const double base = setting.random.uniform(90, 130);
  const double at = setting.random.uniform(0.3, 0.7) * setting.seconds;
  return [=](double time) { return time >= at && time < at + 5 ? base + 280 : base; };
}

// A day of two humps, compressed to seven or eight minutes, and a weekday's work on top.
Shape day(Setting& setting) {
  const double length = setting.random.uniform(420, 480);
  const double phase = setting.random.uniform(0, 2 * kPi);
  double noise = 0;
  return [=, &random = setting.random](double time) mutable {
    const double angle = 2 * kPi * time / length + phase;
    noise = 0.9 * noise + random.normal();
    return 240 + 90 * std::sin(angle) + 45 * std::sin(2 * angle + 1) + 2 * noise;
  };
}

// Several rhythms, a drift and noise, none of them known beforehand.
Shape mixture(Setting& setting) {
  Random& random = setting.random;
  struct Part {
    double period, amplitude, phase;
    bool edge;
  };
  std::vector<Part> parts;
  const int count = 1 + static_cast<int>(random.uniform(0, 3));
  for (int i = 0; i < count; ++i) {
    parts.push_back({std::exp(random.uniform(std::log(3.0), std::log(300.0))), random.uniform(20, 110) / count,
                     random.uniform(0, 1), random.uniform(0, 1) < 0.5});
  }
  const double base = random.uniform(180, 240);
  const double drift = random.uniform(-0.02, 0.04);
  const double noise = random.uniform(0.5, 8);
  const double memory = random.uniform(0, 0.95);
  double state = 0;
  return [=, &random = setting.random](double time) mutable {
    double sum = base + drift * time;
    for (const Part& part : parts) {
      const double phase = time / part.period + part.phase;
      const double turn = phase - std::floor(phase);
      sum += part.amplitude * (part.edge ? (turn < 0.5 ? -1.0 : 1.0) : std::sin(2 * kPi * turn));
    }
    state = memory * state + noise * std::sqrt(1 - memory * memory) * random.normal();
    return sum + state;
  };
}

struct Family {
  const char* name;
  bool meets_limit;
  Shape (*make)(Setting&);
};

const Family kFamilies[] = {
    {"steady", false, [](Setting& s) { return Shape([base = s.random.uniform(150, 300)](double) { return base; }); }},
    {"square_4", false, [](Setting& s) { return square(s, 4, 0); }},
    {"square_20", false, [](Setting& s) { return square(s, 20, 0); }},
    {"square_90", false, [](Setting& s) { return square(s, 90, 0); }},
    {"square_400", false, [](Setting& s) { return square(s, 400, 0); }},
    {"sine", false, [](Setting& s) { return sine(s, s.random.uniform(60, 240)); }},
    {"leak", true,
     [](Setting& s) {
       return line_to_limit(s, s.random.uniform(100, 200), 0, s.seconds * s.random.uniform(0.5, 0.95));
     }},
    {"saw", false, [](Setting& s) { return saw(s, 0); }},
    {"saw_leak", true,
     [](Setting& s) {
       const double leak = 330 / (s.seconds * s.random.uniform(0.5, 0.9));
       return saw(s, leak);
     }},
    {"ramp", true,
     [](Setting& s) {
       const double start = s.seconds * s.random.uniform(0.3, 0.7);
       return line_to_limit(s, s.random.uniform(100, 200), start, s.random.uniform(120, 300));
     }},
    {"random_walk", false, random_walk},
    {"bursts", false, bursts},
    {"spike", false, spike},
    {"day", false, day},
    {"square_growing", true, [](Setting& s) { return square(s, s.random.uniform(20, 60), 1.6 / s.seconds); }},
    {"mixture", false, mixture},
};

const Family* find_family(const std::string& name) {
  for (const Family& family : kFamilies) {
    if (name == family.name) return &family;
  }
  return nullptr;
}

uint64_t bytes_of(double megabytes) { return static_cast<uint64_t>(std::max(1.0, megabytes) * kMega); }

}  // namespace

const std::vector<std::string>& curve_families() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (const Family& family : kFamilies) all.emplace_back(family.name);
    return all;
  }();
  return names;
}

bool curve_meets_limit(const std::string& family) {
  const Family* found = find_family(family);
  return found != nullptr && found->meets_limit;
}

Curve make_curve(const CurveRequest& request) {
  Curve curve;
  const Family* family = find_family(request.family);
  const bool sane = request.hertz > 0 && request.seconds > 0 && request.seconds * request.hertz <= kMostPoints;
  if (family == nullptr || !sane) return curve;
  curve.name = request.family;

  uint64_t seed = request.seed * 0x9e3779b97f4a7c15U;
  for (const char c : request.family) seed = (seed ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
  Random shape_random(seed);
  Random noise_random(seed ^ 0x5555555555555555U);
  Setting setting{request.seconds, 1 / request.hertz, shape_random, 512};
  const Shape shape = family->make(setting);
  // What the limit counts besides the heap: stacks, the program's own pages, a little that moves.
  const double others = noise_random.uniform(15, 35);

  const auto count = static_cast<size_t>(request.seconds * request.hertz);
  curve.points.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    const double time = static_cast<double>(i) / request.hertz;
    // A few objects come and go all the time.
    const double held = shape(time) * (1 + 0.004 * noise_random.normal());
    const double usage = held + others + 0.3 * noise_random.normal();
    curve.points.push_back({time, bytes_of(held), bytes_of(usage), bytes_of(setting.limit)});
  }
  return curve;
}

}  // namespace pm
