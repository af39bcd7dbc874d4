// What is said of a tensor: the rules that a header has to keep, and one attempt at a snapshot that keeps them.
// Segments and the slots of streams have it in common.
#ifndef JUDEMAP_TENSOR_H
#define JUDEMAP_TENSOR_H

#include <algorithm>
#include <cstdint>

#include "judemap/judemap.h"
#include "judemap/protocol.h"
#include "judemap/seqlock.h"

namespace judemap {

// Checks a tensor that is to be written against the table of types and the capacity.
jm_status describe(const std::uint64_t* shape, std::uint32_t ndim, std::uint32_t dtype, std::uint64_t capacity,
                   Metadata* metadata) noexcept;

// One attempt at a snapshot of a segment that has room for `capacity` bytes. `copy` is called within it, with metadata
// that could be true, and returns a status. Fills in all of *out but its data: also with JM_ERR_CORRUPT, and with what
// `copy` returns; of JM_ERR_BUSY and JM_ERR_EMPTY only the version means something.
template <class Copy>
jm_status snapshot_of(const jm_header& header, std::uint64_t capacity, jm_tensor* out, Copy&& copy) noexcept {
  Metadata metadata;
  jm_status status = JM_OK;
  const Attempt attempt = read_once(header, &out->version, &metadata, [&](const Metadata& seen) {
    if (out->version == 0 || seen.none()) {
      status = JM_ERR_EMPTY;
    } else if (corrupt_field(seen, capacity) != nullptr) {
      status = JM_ERR_CORRUPT;
    } else {
      status = copy(seen);
    }
    return status == JM_OK;
  });
  if (attempt == Attempt::kBusy || attempt == Attempt::kTorn) return JM_ERR_BUSY;
  out->ndim = metadata.ndim;
  out->dtype = metadata.dtype;
  std::copy_n(metadata.shape, JM_MAX_DIMS, out->shape);
  out->byte_length = metadata.byte_length;
  return status;
}

}  // namespace judemap

#endif  // JUDEMAP_TENSOR_H
