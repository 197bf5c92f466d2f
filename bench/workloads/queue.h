// A bounded queue between threads for the workloads that hand objects over. A mutex and two condition variables: it
// moves batches, so that its own cost is spread over many objects, and it never allocates after construction.
#pragma once

#include <condition_variable>
#include <mutex>
#include <vector>

namespace bench {

template <class Item>
class Queue {
 public:
  explicit Queue(size_t capacity) : ring_(capacity) {}

  void push(const Item& item) {
    std::unique_lock lock(mutex_);
    not_full_.wait(lock, [this] { return used_ < ring_.size(); });
    ring_[(first_ + used_++) % ring_.size()] = item;
    lock.unlock();
    not_empty_.notify_one();
  }

  // False once the queue is closed and empty.
  bool pop(Item& item) {
    std::unique_lock lock(mutex_);
    not_empty_.wait(lock, [this] { return used_ > 0 || closed_; });
    if (used_ == 0) return false;
    item = ring_[first_];
    first_ = (first_ + 1) % ring_.size();
    --used_;
    lock.unlock();
    not_full_.notify_one();
    return true;
  }

  void close() {
    {
      const std::lock_guard lock(mutex_);
      closed_ = true;
    }
    not_empty_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable not_full_;
  std::condition_variable not_empty_;
  std::vector<Item> ring_;  // the mutex guards this and all below
  size_t first_ = 0;
  size_t used_ = 0;
  bool closed_ = false;
};

}  // namespace bench
