// A record that one thread at a time writes and any may copy, without locks (a sequence lock).
//
// The sequence is odd while a write is under way. A reader copies, and looks again if the sequence moved meanwhile;
// after a bounded number of tries it gives up, so that a reader in a signal handler that interrupted the writer, or in
// a process whose writer died, does not wait for ever. The words are relaxed atomics: a torn copy is thrown away, and
// no compiler or sanitizer sees a race.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace pm {

template <typename T>
class SeqCell {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  // One thread at a time: the caller's duty.
  void write(const T& value) {
    uint64_t words[kWords] = {};
    memcpy(words, &value, sizeof value);
    const uint32_t before = sequence_.load(std::memory_order_relaxed);
    sequence_.store(before + 1, std::memory_order_relaxed);
    // Pairs with the acquire fence in read: who sees one of the words below sees the odd sequence too.
    std::atomic_thread_fence(std::memory_order_release);
    for (size_t i = 0; i < kWords; ++i) words_[i].store(words[i], std::memory_order_relaxed);
    sequence_.store(before + 2, std::memory_order_release);
  }

  // False if nothing was written yet, or a write is under way and does not end.
  bool read(T& out) const {
    for (unsigned tries = 0; tries < 10'000; ++tries) {
      const uint32_t before = sequence_.load(std::memory_order_acquire);
      if (before == 0) return false;
      if ((before & 1U) != 0) continue;
      uint64_t words[kWords];
      for (size_t i = 0; i < kWords; ++i) words[i] = words_[i].load(std::memory_order_relaxed);
      std::atomic_thread_fence(std::memory_order_acquire);
      if (sequence_.load(std::memory_order_relaxed) != before) continue;
      memcpy(static_cast<void*>(&out), words, sizeof out);
      return true;
    }
    return false;
  }

 private:
  static constexpr size_t kWords = (sizeof(T) + 7) / 8;
  std::atomic<uint32_t> sequence_{0};
  std::atomic<uint64_t> words_[kWords] = {};
};

}  // namespace pm
