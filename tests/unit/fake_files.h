// A file tree in memory behind os::FileFunctions: tests set, cut, forbid and remove files, close descriptors behind the
// sensors' back or give their numbers to other files, and see what was opened, read and written.
#ifndef POOLMALLOC_TESTS_UNIT_FAKE_FILES_H_
#define POOLMALLOC_TESTS_UNIT_FAKE_FILES_H_

#include <cerrno>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "os/files.h"

namespace pm::test {

class FakeFiles {
 public:
  struct Node {
    std::string text;
    os::FileKind kind = os::FileKind::regular;
    uint64_t inode = 0;
    bool removed = false;  // like a group's file: what is still open gives ENODEV
    int open_error = 0;    // -errno for open
    int write_error = 0;   // -errno for write
    std::string written;
    std::string fdinfo;         // of an eventfd
    unsigned foreign_uses = 0;  // reads and closes of what is the program's
    bool foreign = false;
  };
  struct Open {
    std::shared_ptr<Node> node;
    size_t position = 0;
  };

  FakeFiles() {
    functions_ = {this, open_file, connect_socket, create_event,  close_file, read_file, take_some,
                  put,  identify,  look_up,        address_limit, now,        process};
  }

  const os::FileFunctions& functions() const { return functions_; }

  Node& set(const std::string& path, const std::string& text) {
    auto& node = tree[path];
    if (node == nullptr) node = make(os::FileKind::regular);
    node->text = text;
    return *node;
  }
  void remove(const std::string& path) {
    const auto found = tree.find(path);
    if (found == tree.end()) return;
    found->second->removed = true;
    tree.erase(found);
  }
  void remove_below(const std::string& directory) {
    std::vector<std::string> names;
    for (const auto& entry : tree) {
      if (entry.first.rfind(directory + "/", 0) == 0) names.push_back(entry.first);
    }
    for (const auto& name : names) remove(name);
  }
  // closefrom(0): every descriptor is gone.
  void close_all() { open_.clear(); }
  // The program's own file takes over every number in use.
  std::shared_ptr<Node> take_over_all(bool eventfds = false) {
    auto node = make(os::FileKind::regular);
    node->text = "1 1 1\n";
    node->foreign = true;
    if (eventfds) {
      node->inode = kEventInode;
      node->kind = os::FileKind::other;
      node->fdinfo = "eventfd-count: 1\neventfd-id: 999\n";
    }
    for (auto& entry : open_) entry.second = {node, 0};
    return node;
  }
  Node* node_of(int fd) { return open_.count(fd) != 0 ? open_[fd].node.get() : nullptr; }
  size_t open_count() const { return open_.size(); }

  std::map<std::string, std::shared_ptr<Node>> tree;
  uint64_t time_ns = 1000000000000;
  uint64_t address_space_limit = UINT64_MAX;
  int process_id = 100;
  bool has_event_ids = true;
  unsigned opens = 0;
  unsigned reads = 0;

 private:
  static constexpr uint64_t kEventInode = 7;

  std::shared_ptr<Node> make(os::FileKind kind) {
    auto node = std::make_shared<Node>();
    node->kind = kind;
    node->inode = ++last_inode_;
    return node;
  }
  int insert(std::shared_ptr<Node> node) {
    open_[++last_fd_] = {std::move(node), 0};
    return last_fd_;
  }
  static FakeFiles& self(void* context) { return *static_cast<FakeFiles*>(context); }

  static int open_file(void* context, const char* path, os::OpenMode) {
    FakeFiles& files = self(context);
    ++files.opens;
    const std::string prefix = "/proc/thread-self/fdinfo/";
    if (std::string(path).rfind(prefix, 0) == 0) {
      Node* const target = files.node_of(std::stoi(path + prefix.size()));
      if (target == nullptr) return -ENOENT;
      auto node = files.make(os::FileKind::regular);
      node->text = target->fdinfo;
      return files.insert(node);
    }
    const auto found = files.tree.find(path);
    if (found == files.tree.end()) return -ENOENT;
    if (found->second->open_error != 0) return found->second->open_error;
    return files.insert(found->second);
  }
  static int connect_socket(void* context, const char* path) {
    return open_file(context, path, os::OpenMode::read_write);
  }
  static int create_event(void* context) {
    FakeFiles& files = self(context);
    auto node = files.make(os::FileKind::other);
    node->inode = kEventInode;
    node->fdinfo = "eventfd-count: 0\n";
    if (files.has_event_ids) node->fdinfo += "eventfd-id: " + std::to_string(++files.last_event_) + "\n";
    return files.insert(node);
  }
  static void close_file(void* context, int fd) {
    FakeFiles& files = self(context);
    Node* const node = files.node_of(fd);
    if (node != nullptr && node->foreign) ++node->foreign_uses;
    files.open_.erase(fd);
  }
  static long read_file(void* context, int fd, char* buffer, size_t size) {
    FakeFiles& files = self(context);
    ++files.reads;
    Node* const node = files.node_of(fd);
    if (node == nullptr) return -EBADF;
    if (node->foreign) ++node->foreign_uses;
    if (node->removed) return -ENODEV;
    const size_t n = node->text.size() < size ? node->text.size() : size;
    memcpy(buffer, node->text.data(), n);
    return static_cast<long>(n);
  }
  static long take_some(void* context, int fd, char* buffer, size_t size) {
    FakeFiles& files = self(context);
    Node* const node = files.node_of(fd);
    if (node == nullptr) return -EBADF;
    if (node->foreign) ++node->foreign_uses;
    if (node->kind == os::FileKind::regular) {
      size_t& position = files.open_[fd].position;
      const size_t left = node->text.size() - position;
      const size_t n = left < size ? left : size;
      memcpy(buffer, node->text.data() + position, n);
      position += n;
      return static_cast<long>(n);
    }
    // A stream: what is there is taken.
    if (node->text.empty()) return node->removed ? 0 : -EAGAIN;
    const size_t n = node->text.size() < size ? node->text.size() : size;
    memcpy(buffer, node->text.data(), n);
    node->text.erase(0, n);
    return static_cast<long>(n);
  }
  static long put(void* context, int fd, const char* data, size_t size) {
    FakeFiles& files = self(context);
    Node* const node = files.node_of(fd);
    if (node == nullptr) return -EBADF;
    if (node->foreign) ++node->foreign_uses;
    if (node->write_error != 0) return node->write_error;
    node->written.append(data, size);
    return static_cast<long>(size);
  }
  static os::FileIdentity identify(void* context, int fd) {
    Node* const node = self(context).node_of(fd);
    return node == nullptr ? os::FileIdentity{} : os::FileIdentity{1, node->inode, node->kind};
  }
  static os::FileIdentity look_up(void* context, const char* path) {
    FakeFiles& files = self(context);
    const auto found = files.tree.find(path);
    return found == files.tree.end() ? os::FileIdentity{}
                                     : os::FileIdentity{1, found->second->inode, found->second->kind};
  }
  static uint64_t address_limit(void* context) { return self(context).address_space_limit; }
  static uint64_t now(void* context) { return self(context).time_ns; }
  static int process(void* context) { return self(context).process_id; }

  os::FileFunctions functions_{};
  std::map<int, Open> open_;
  int last_fd_ = 200;
  uint64_t last_inode_ = 1000;
  uint64_t last_event_ = 0;
};

}  // namespace pm::test

#endif  // POOLMALLOC_TESTS_UNIT_FAKE_FILES_H_
