//go:build ignore
// (For the go command: this file is compiled as a part of judemap_core.cc, never by itself.)

#include "stat.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstring>

#include "judemap/protocol.h"
#include "judemap/stream_protocol.h"
#include "process.h"
#include "share.h"

namespace judemap {
namespace {

// How often to look for a moment between two commits.
constexpr int kLooks = 32;

// How many looks in turn must find the same metadata to be believed, if none falls between two commits. A look may fall
// into a commit's stores and find a mixture that could be true. Several in turn find the same one only where the writer
// is stopped there; and then sequence does not move, but for the first of them and the last.
constexpr int kAgree = 8;

constexpr auto kRelaxed = std::memory_order_relaxed;

// A file that another process may be writing to, and cutting short.
class File {
 public:
  File() = default;
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File() {
    if (descriptor_ >= 0) share::close(descriptor_);
  }
  int open(const char* name) noexcept {
    const int error = share::open(name, false, &descriptor_);
    if (error != 0) descriptor_ = -1;
    return error;
  }
  int descriptor() const noexcept { return descriptor_; }

  // Reads a part of the file, and before what is read next. False if it is not there any more.
  bool read(std::uint64_t offset, void* buffer, std::size_t bytes) const noexcept {
    const int error = share::read_at(descriptor_, offset, buffer, bytes);
    // The kernel copies for this thread: a fence between two calls orders their loads too.
    std::atomic_thread_fence(std::memory_order_seq_cst);
    return error == 0;
  }
  template <class Word>
  bool read(std::uint64_t offset, Word* word) const noexcept {
    return read(offset, word, sizeof *word);
  }
  bool held(bool* held) const noexcept { return share::held(descriptor_, held) == 0; }
  // As Mapping has it: a lock that can't be asked for counts as held.
  bool locked(unsigned byte) const noexcept {
    bool locked = true;
    return share::locked(descriptor_, byte, &locked) != 0 || locked;
  }

 private:
  int descriptor_ = -1;
};

jm_status system_error(int error) noexcept {
  if (error == share::kNoProc) return JM_ERR_NO_PROC;
  errno = error;
  return JM_ERR_SYSTEM;
}

template <class... Numbers>
jm_status corrupt(const Words& why, const char* format, Numbers... numbers) noexcept {
  if (why.text != nullptr && why.size != 0) std::snprintf(why.text, why.size, format, numbers...);
  return JM_ERR_CORRUPT;
}

jm_status cut_short(const Words& why) noexcept { return corrupt(why, "%s", "it was cut short while it was read"); }

Metadata metadata_of(const jm_header& header) noexcept {
  Metadata metadata;
  metadata.ndim = header.ndim.load(kRelaxed);
  metadata.dtype = header.dtype.load(kRelaxed);
  for (std::uint32_t i = 0; i < std::min<std::uint32_t>(metadata.ndim, JM_MAX_DIMS); ++i) {
    metadata.shape[i] = header.shape[i].load(kRelaxed);
  }
  metadata.byte_length = header.byte_length.load(kRelaxed);
  return metadata;
}

bool same(const Metadata& a, const Metadata& b) noexcept {
  return a.ndim == b.ndim && a.dtype == b.dtype && a.byte_length == b.byte_length &&
         std::equal(a.shape, a.shape + JM_MAX_DIMS, b.shape);
}

// Looks at a segment's header, or a slot's, now and again.
struct Look {
  std::uint64_t version = 0;
  bool whole = false;  // no commit came in between
  Metadata metadata;

  // JM_OK: a snapshot, or what kAgree looks in turn have found while commits came and went. JM_ERR_BUSY; JM_ERR_EMPTY.
  // JM_ERR_CLOSED: the file is shorter now.
  jm_status at(const File& file, std::uint64_t offset) noexcept {
    std::uint64_t before, after;
    alignas(jm_header) unsigned char bytes[sizeof(jm_header)];
    if (!file.read(offset, &before) || !file.read(offset, bytes, sizeof bytes) || !file.read(offset, &after)) {
      return JM_ERR_CLOSED;
    }
    metadata = metadata_of(*reinterpret_cast<const jm_header*>(bytes));
    version = after;
    whole = after == before && (after & 1) == 0;
    if (whole) return after == 0 || metadata.none() ? JM_ERR_EMPTY : JM_OK;
    if (after == before || metadata.none()) {
      agree_ = 0;
    } else {
      agree_ = agree_ > 0 && same(metadata, last_) ? agree_ + 1 : 1;
    }
    last_ = metadata;
    if (agree_ < kAgree) return JM_ERR_BUSY;
    version = after & ~std::uint64_t{1};  // it moves, so that it is not 1
    return version == 0 ? JM_ERR_BUSY : JM_OK;
  }

 private:
  int agree_ = 0;  // looks in turn, with this one, that have found the same
  Metadata last_;
};

// Copies the bytes of a tensor, where they are asked for.
class Copy {
 public:
  explicit Copy(const Buffer* to) noexcept : to_(to) {}

  // Those of the tensor that a look has found in the segment, or slot, at `offset`. JM_ERR_BUSY: a commit came in
  // between. JM_ERR_BUFFER. JM_ERR_CLOSED: the file is shorter now.
  jm_status of(const File& file, std::uint64_t offset, const Look& look) noexcept {
    if (to_ == nullptr) return JM_OK;
    const std::uint64_t length = look.metadata.byte_length;
    if (length > to_->size) return JM_ERR_BUFFER;
    if (!look.whole) return JM_ERR_BUSY;
    // The look has read the sequence before the metadata and after. A writer makes it odd before it changes a byte of
    // the tensor. So if the sequence is still the same when it is read after the bytes, these and the metadata are of
    // one commit.
    ++made_;
    std::uint64_t after;
    if (!file.read(offset + JM_DATA_OFFSET, to_->data, static_cast<std::size_t>(length)) ||
        !file.read(offset, &after)) {
      return JM_ERR_CLOSED;
    }
    return after == look.version ? JM_OK : JM_ERR_BUSY;
  }

  // A look costs next to nothing, but a copy takes the longer the larger the tensor is. Then commits are likely to come
  // in between each, and the caller knows for how long to go on. So there are as many as a reading call makes.
  bool gives_up() const noexcept { return made_ == JM_TORN_ATTEMPTS; }

 private:
  const Buffer* to_;
  int made_ = 0;
};

// Puts down a look that has succeeded, if it can be true, and copies the tensor's bytes. JM_ERR_CORRUPT, or as Copy has
// it.
jm_status keep(const File& file, std::uint64_t offset, const Look& look, Copy* copy, jm_info* out) noexcept {
  jm_tensor& tensor = out->tensor;
  tensor.version = look.version;
  tensor.ndim = look.metadata.ndim;
  tensor.dtype = look.metadata.dtype;
  std::copy_n(look.metadata.shape, JM_MAX_DIMS, tensor.shape);
  tensor.byte_length = look.metadata.byte_length;
  out->corrupt = corrupt_field(look.metadata, out->capacity);
  if (out->corrupt != nullptr) return JM_ERR_CORRUPT;
  const jm_status status = copy->of(file, offset, look);
  if (status == JM_ERR_BUSY) tensor = {};
  return status;
}

jm_status look_at_segment(const File& file, Copy* copy, jm_info* out) noexcept {
  Look look;
  jm_status status = JM_ERR_BUSY;
  for (int i = 0; i < kLooks && status == JM_ERR_BUSY && !copy->gives_up(); ++i) {
    status = look.at(file, 0);
    out->sequence = look.version;
    if (status != JM_OK) continue;
    // Half of one commit's and half of another's is no corrupt header.
    const bool halves = !look.whole && corrupt_field(look.metadata, out->capacity) != nullptr;
    status = halves ? JM_ERR_BUSY : keep(file, 0, look, copy, out);
  }
  return status;
}

jm_status look_at_newest(const File& file, const jm_stream_block& block, Copy* copy, jm_info* out) noexcept {
  for (int i = 0; i < kLooks && !copy->gives_up(); ++i) {
    std::uint64_t sequence;
    std::uint32_t index;
    if (!file.read(offsetof(jm_stream_header, sequence), &sequence)) return JM_ERR_CLOSED;
    out->sequence = sequence;
    const std::uint64_t newest = sequence / 2;
    if (newest == 0) return JM_ERR_EMPTY;
    if (!file.read(offsetof(jm_stream_header, table) + newest % block.slots * sizeof index, &index)) {
      return JM_ERR_CLOSED;
    }
    if (index >= block.slots) {
      out->corrupt = "table";
      return JM_ERR_CORRUPT;
    }
    // A slot that the writer has gone on to has an older frame, or none: the newest is in another by now.
    Look look;
    const std::uint64_t slot = block.first + index * block.stride;
    jm_status status = look.at(file, slot);
    if (status == JM_ERR_CLOSED) return status;
    if (status != JM_OK || look.version < 2 * newest) continue;
    if (!file.read(offsetof(jm_stream_header, sequence), &sequence)) return JM_ERR_CLOSED;
    if (look.version / 2 > sequence / 2 + 1) {  // a writer is one frame ahead of its header at most
      out->tensor.version = look.version;
      out->corrupt = "sequence";
      return JM_ERR_CORRUPT;
    }
    out->sequence = sequence;
    if (look.version > sequence) continue;  // as in StreamProtocol::snapshot_newest
    status = keep(file, slot, look, copy, out);
    if (status != JM_ERR_BUSY) return status;
  }
  return JM_ERR_BUSY;
}

// Mapping::writer() says why it looks twice, in this order. Where others may write without a lock, an odd sequence
// tells only who looks for long enough.
jm_writer writer_of(const File& file, bool marked, bool writers_wake) noexcept {
  std::uint64_t sequence, now;
  std::uint32_t flags = 0;
  if (!file.read(offsetof(jm_header, sequence), &sequence)) return JM_WRITER_NONE;
  for (int look = 0; look < 2; ++look) {
    if (file.locked(0)) return JM_WRITER_OTHER;
    if (marked && !file.read(offsetof(jm_header, flags), &flags)) return JM_WRITER_NONE;
    if (!file.read(offsetof(jm_header, sequence), &now) || now != sequence) return JM_WRITER_NONE;
    const bool odd = (sequence & 1) != 0;
    const bool flagged = (flags & JM_FLAG_WRITER_ATTACHED) != 0;
    if (writers_wake ? !odd && !flagged : odd || !flagged) return JM_WRITER_NONE;
  }
  return JM_WRITER_DIED;
}

// Who has a place, or holds a slot. False if the file is shorter now.
bool look_at_readers(const File& file, const jm_stream_block& block, jm_info* out) noexcept {
  std::uint64_t pins[JM_STREAM_SLOTS];
  jm_place places[JM_STREAM_READERS];
  std::uint64_t present;
  if (!file.read(offsetof(jm_stream_header, readers), &present)) return false;
  if (!file.read(offsetof(jm_stream_header, places), static_cast<void*>(places), sizeof places)) return false;
  for (std::uint32_t i = 0; i < block.slots; ++i) {
    if (!file.read(block.first + i * block.stride + JM_PINS_OFFSET, &pins[i])) return false;
    present |= pins[i];
  }
  for (unsigned number = 0; number < JM_STREAM_READERS; ++number) {
    if ((present >> number & 1) == 0) continue;
    jm_reader_info& info = out->reader[out->readers++];
    info.number = number;
    info.process = places[number].process.load(kRelaxed);
    info.cursor = places[number].cursor.load(kRelaxed);
    for (std::uint32_t i = 0; i < block.slots; ++i) info.held += pins[i] >> number & 1;
    info.dead = !file.locked(1 + number);
  }
  return true;
}

jm_presence presence_of(process::Life life) noexcept {
  switch (life) {
    case process::Life::kAlive:
      return JM_PRESENT;
    case process::Life::kGone:
      return JM_GONE;
    case process::Life::kUnknown:
      break;
  }
  return JM_PRESENCE_UNKNOWN;
}

// Who made it, and who has it open.
void look_at_holders(const File& file, jm_info* out) noexcept {
  const std::size_t at = out->kind == JM_KIND_STREAM ? JM_STREAM_CREATOR_OFFSET : JM_CREATOR_OFFSET;
  if (out->marked == 0 || !file.read(at, &out->creator)) out->creator = {};
  out->creator_presence = presence_of(process::life_of(out->creator));
  bool held = false;
  const bool told = file.held(&held);
  if (held) {
    out->holders = JM_PRESENT;
  } else if (told && out->creator.process != 0 && (out->flags & JM_FLAG_WRITERS_WAKE) != 0) {
    out->holders = JM_GONE;
  }
}

// What can be known of a file that is open.
jm_status stat_file(const File& file, Copy* copy, jm_info* out, const Words& why) noexcept {
  share::Attributes attributes;
  if (const int error = share::attributes(file.descriptor(), &attributes)) return system_error(error);
  const std::uint64_t bytes = out->file_bytes = attributes.bytes;
  out->file = {attributes.device, attributes.index};
  if (bytes <= JM_DATA_OFFSET) {
    return corrupt(why, "it has %" PRIu64 " bytes, and a segment more than %d", bytes, JM_DATA_OFFSET);
  }
  alignas(jm_header) unsigned char first[sizeof(jm_header)];
  if (!file.read(0, first, sizeof first)) return cut_short(why);
  const auto& header = *reinterpret_cast<const jm_header*>(first);
  const std::uint32_t magic = header.magic.load(kRelaxed);
  if (magic != 0 && magic != JM_MAGIC && magic != JM_STREAM_MAGIC) {
    return corrupt(why, "magic is 0x%08" PRIX32 ", which is no segment's and no stream's", magic);
  }
  Mapping::Found found;
  const std::uint64_t capacity = header.capacity.load(kRelaxed);
  if (magic != JM_STREAM_MAGIC) {
    if (const char* reason = Protocol::judge(header, bytes, &found)) {
      return corrupt(why, "%s: capacity is %" PRIu64 ", and the file has %" PRIu64 " bytes", reason, capacity, bytes);
    }
  } else if (const char* reason = StreamProtocol::judge(header, bytes, &found)) {
    const jm_stream_block& block = found.stream;
    return corrupt(why,
                   "%s: slots is %" PRIu32 ", readers %" PRIu32 ", first %" PRIu64 ", stride %" PRIu64
                   ", capacity %" PRIu64 ", and the file has %" PRIu64 " bytes",
                   reason, block.slots, block.readers, block.first, block.stride, capacity, bytes);
  }
  const bool stream = magic == JM_STREAM_MAGIC;
  out->kind = stream ? JM_KIND_STREAM : JM_KIND_SEGMENT;
  out->marked = magic != 0;
  out->capacity = found.capacity;
  if (out->marked != 0) {
    out->flags = header.flags.load(kRelaxed);
    out->waiters = header.waiters.load(kRelaxed);
  }
  jm_status status = stream ? look_at_newest(file, found.stream, copy, out) : look_at_segment(file, copy, out);
  if (status == JM_ERR_CLOSED) return cut_short(why);
  out->writer = writer_of(file, out->marked != 0, (out->flags & JM_FLAG_WRITERS_WAKE) != 0);
  // One that died between two commits leaves a tensor that can be copied by now.
  const bool in_commit = (out->sequence & 1) != 0;
  if (status == JM_ERR_BUSY && !stream && in_commit && out->writer == JM_WRITER_DIED) status = JM_ERR_WRITER_DIED;
  out->tensor_status = status;
  look_at_holders(file, out);
  if (stream) {
    out->slots = found.stream.slots;
    if (!look_at_readers(file, found.stream, out)) return cut_short(why);
  }
  return JM_OK;
}

}  // namespace

jm_status stat_name(const char* name, const Buffer* buffer, jm_info* out, Words why) noexcept {
  *out = {};
  if (why.text != nullptr && why.size != 0) *why.text = '\0';
  if (!Mapping::good_name(name)) return JM_ERR_NAME;
  File file;
  if (const int error = file.open(name)) return system_error(error);
  Copy copy(buffer);
  const jm_status status = stat_file(file, &copy, out, why);
  if (status != JM_OK) {
    const std::uint64_t bytes = out->file_bytes;
    *out = {};
    if (status == JM_ERR_CORRUPT) out->file_bytes = bytes;
  }
  return status;
}

}  // namespace judemap
