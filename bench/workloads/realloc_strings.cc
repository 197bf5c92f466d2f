// Text is built by appending: many buffers side by side that grow by realloc to just what is needed, a few that double,
// and one that becomes very large. Appending to one buffer means that its neighbour may be in the way.
//
// Operation: one append.
#include <vector>

#include "harness.h"

namespace {

class Text {
 public:
  void append(const char* piece, size_t length, bool doubling) {
    if (length_ + length > capacity_) {
      capacity_ = doubling ? (length_ + length) * 2 : length_ + length;
      text_ = static_cast<char*>(std::realloc(text_, capacity_));
      bench::check(text_ != nullptr, "realloc");
    }
    std::memcpy(text_ + length_, piece, length);
    length_ += length;
    bench::keep(text_);
  }

  void drop() {
    bench::give(text_);
    *this = Text();
  }

  size_t length() const { return length_; }

 private:
  char* text_ = nullptr;
  size_t length_ = 0;
  size_t capacity_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  bench::Workload workload("realloc_strings", argc, argv);
  const size_t appends = workload.scaled(20'000'000, 200'000);
  const size_t largest = workload.count("largest_mib", workload.smoke() ? 1 : 64) << 20;

  constexpr size_t kTexts = 256;
  char piece[256];
  std::memset(piece, 'x', sizeof piece);
  bench::Random random(workload.seed());
  std::vector<Text> texts(kTexts);
  Text large;
  workload.start();
  for (size_t i = 0; i < appends; ++i) {
    const size_t which = random.below(kTexts);
    Text& text = texts[which];
    text.append(piece, random.between(1, 96), which % 4 == 0);
    // Most texts end short; one in a thousand appends finds a text that has grown to 16 KiB or more.
    if (text.length() > random.log_between(64, 8192)) text.drop();
    if (i % 64 == 0) {
      large.append(piece, sizeof piece, false);
      if (large.length() > largest) large.drop();
    }
  }
  workload.stop();
  for (Text& text : texts) text.drop();
  large.drop();
  return workload.report(appends);
}
