// The metadata of a tensor: the rules that a header has to follow, and one attempt at a snapshot that checks them.
// Segments and the slots of streams both use it.
#ifndef JUDEMAP_TENSOR_H
#define JUDEMAP_TENSOR_H

#include <algorithm>
#include <cstdint>

#include "judemap/judemap.h"
#include "judemap/protocol.h"
#include "judemap/seqlock.h"

namespace judemap {

// Checks a tensor that is to be written against the element types and the capacity, and fills in *metadata.
jm_status describe(const std::uint64_t* shape, std::uint32_t ndim, std::uint32_t dtype, std::uint64_t capacity,
                   Metadata* metadata) noexcept;

// Makes one attempt at a snapshot of a segment with room for `capacity` bytes. `copy` is called during the attempt,
// with metadata that is possible, and returns a status. All of *out except data is filled in, also with JM_ERR_CORRUPT
// and with any status of `copy`. With JM_ERR_BUSY and JM_ERR_EMPTY only the version is valid.
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
