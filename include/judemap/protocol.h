// The protocol of a segment: the steps of readers and of a writer on a mapping with one tensor. Nothing here takes a
// lock, waits in a loop, or makes a system call that blocks. For calls that wait use segment.h, which is built on this.
// Callers with locks and waiting of their own, such as the Go package, use this.
//
// The caller has to see to this, in addition to what mapping.h says:
//
//   - try_read, try_read_into and valid may be called at any time, from any thread.
//   - begin, write, fill, commit and abort must not run at the same time. The caller has a lock between its writers.
#ifndef JUDEMAP_PROTOCOL_H
#define JUDEMAP_PROTOCOL_H

#include <cstddef>
#include <cstdint>

#include "judemap/judemap.h"
#include "judemap/mapping.h"
#include "judemap/seqlock.h"

namespace judemap {

// Computes the size of a tensor in bytes: the product of the dimensions times the size of an element. Returns false if
// the size or a dimension is 2^63 or more. If one dimension is 0 the size is 0, even if the product of the others
// overflows.
bool tensor_bytes(const std::uint64_t* shape, std::uint32_t ndim, std::uint32_t dtype, std::uint64_t* bytes) noexcept;

// Returns the name of the field of `metadata` that is not possible in a segment of this capacity, or nullptr. Another
// process may have written the header, so nothing of the metadata may be used before this check. testdata/headers.txt
// has examples.
const char* corrupt_field(const Metadata& metadata, std::uint64_t capacity) noexcept;

class Protocol : public Mapping {
 public:
  // Each makes or opens the segment, like the functions of judemap.h, once per object: after that it returns
  // JM_ERR_ARGUMENT.
  jm_status create(std::uint64_t capacity, std::uint32_t flags) noexcept;
  jm_status create(const char* name, std::uint64_t capacity, std::uint32_t mode, std::uint32_t flags) noexcept;
  jm_status create_sealed(std::uint64_t capacity, std::uint32_t flags) noexcept;
  jm_status open(const char* name, std::uint32_t flags, const char** why) noexcept;
  jm_status open(int descriptor, std::uint32_t flags, const char** why) noexcept;
  // A Judge of files.
  static const char* judge(const jm_header& first, std::uint64_t bytes, Found* found) noexcept;

  // ---- Reading. Each makes one attempt. JM_ERR_BUSY means that a commit was in progress, or came in between. They do
  // not set out->data: the data is at data(), or in the caller's buffer.

  jm_status try_read(jm_tensor* out) const noexcept;
  jm_status try_read_into(void* buffer, std::uint64_t size, jm_tensor* out) const noexcept;
  bool valid(const jm_tensor& tensor) const noexcept { return unchanged(*header_, tensor.version); }

  // ---- Writing

  // Starts a commit: *data is for the caller to fill. The first call takes the right to write among processes, and
  // repairs what a writer that died has left. JM_ERR_ARGUMENT if a commit is in progress; JM_ERR_WRITER_ACTIVE,
  // JM_ERR_READ_ONLY, JM_ERR_FORKED, JM_ERR_CLOSED, JM_ERR_SYSTEM.
  jm_status begin(const std::uint64_t* shape, std::uint32_t ndim, std::uint32_t dtype, void** data,
                  std::uint64_t* length) noexcept;
  // Ends the commit, and wakes the threads that wait for it. JM_ERR_ARGUMENT if none is in progress.
  jm_status commit() noexcept;
  // Ends the commit without a tensor: readers get JM_ERR_EMPTY.
  jm_status abort() noexcept;
  // Each makes a whole commit.
  jm_status write(const std::uint64_t* shape, std::uint32_t ndim, std::uint32_t dtype, const void* data,
                  std::uint64_t length) noexcept;
  jm_status fill(const std::uint64_t* shape, std::uint32_t ndim, std::uint32_t dtype, double value) noexcept;

  std::byte* data() const noexcept { return reinterpret_cast<std::byte*>(header_) + JM_DATA_OFFSET; }

 private:
  jm_status attach() noexcept;
  jm_status open_commit(const Metadata& metadata) noexcept;
  jm_status finish() noexcept;
  template <class Copy>
  jm_status snapshot(jm_tensor* out, Copy&& copy) const noexcept;

  // For the writer; guarded by the caller's lock.
  bool committing_ = false;         // a commit is in progress
  std::uint64_t next_version_ = 0;  // the version that it will have
};

}  // namespace judemap

#endif  // JUDEMAP_PROTOCOL_H
