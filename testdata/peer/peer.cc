// The C++ side of the tests between Go and C++: a program over the core's RAII class that writes, or reads and checks,
// the tensors of stress_test.go, in which every element derives from the version. NAME is a segment's, or "-" for the
// one in descriptor 3.
//
//   peer write NAME ELEMENTS COMMITS   commits COMMITS tensors of at most ELEMENTS int64 (0: until killed)
//   peer idle NAME                     commits one byte and stays
//   peer read NAME ELEMENTS VERSION    reads in all ways, and checks, until it has seen VERSION
//   peer park NAME                     waits for commits until killed
//   peer create NAME CAPACITY          makes a segment, and removes it again, over and over until killed
//
// And with streams, whose names and descriptors are given likewise:
//
//   peer stream-write NAME ELEMENTS COMMITS        as write
//   peer stream-read NAME ELEMENTS VERSION HELD    reads, keeps so many frames, and checks all of them, until it has
//                                                  seen VERSION (0: until killed)
//   peer stream-turns NAME COMMITS                 commits, and reads what it committed, in turns
//   peer stream-create NAME CAPACITY               as create

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "../../test/pattern.h"
#include "judemap/segment.h"
#include "judemap/stream.h"

namespace {

using pattern::element;
using pattern::shape_of;

[[noreturn]] void fail(const char* what, int status = JM_OK) {
  std::fprintf(stderr, "peer: %s: %s (errno: %s)\n", what, jm_strerror(status), std::strerror(errno));
  std::exit(1);
}

// The descriptor that this process was given: Windows, which keeps no numbers, has it in the environment.
int passed() {
  const char* text = std::getenv("JUDEMAP_FILE");
  return text == nullptr ? 3 : std::atoi(text);
}

void write(judemap::Segment& segment, std::uint64_t n, std::uint64_t commits) {
  std::vector<std::int64_t> values(n);
  for (std::uint64_t i = 0; commits == 0 || i < commits; ++i) {
    // After a writer that died in a commit the core puts the segment right first, which is a version of its own.
    const std::uint64_t now = segment.version();
    const std::uint64_t version = now % 2 == 0 ? now + 2 : now + 3;
    std::uint64_t shape[JM_MAX_DIMS];
    std::uint32_t ndim;
    const std::uint64_t size = shape_of(version, n, shape, &ndim);
    for (std::uint64_t k = 0; k < size; ++k) values[k] = element(version, k);
    if (const jm_status status = segment.write(shape, ndim, JM_INT64, values.data(), size * 8)) fail("write", status);
  }
}

void check(const judemap::Segment& segment, const jm_tensor& tensor, std::uint64_t n) {
  std::uint64_t shape[JM_MAX_DIMS];
  std::uint32_t ndim;
  const std::uint64_t size = shape_of(tensor.version, n, shape, &ndim);
  if (ndim != tensor.ndim || std::memcmp(shape, tensor.shape, ndim * sizeof *shape) != 0) fail("wrong shape");
  const auto* values = static_cast<const std::int64_t*>(tensor.data);
  for (std::uint64_t i = 0; i < size; ++i) {
    if (values[i] == element(tensor.version, i)) continue;
    const bool copy = tensor.data < segment.header() || tensor.data > segment.header() + segment.capacity();
    if (copy || segment.valid(tensor)) fail("torn");
    return;
  }
}

void read(judemap::Segment& segment, std::uint64_t n, std::uint64_t until) {
  std::vector<std::int64_t> buffer(n);
  for (std::uint64_t last = 0, i = 0; last < until; ++i) {
    jm_tensor tensor;
    jm_status status;
    switch (i % 3) {
      case 0:
        status = segment.next(last, 10'000'000'000, &tensor);
        break;
      case 1:
        status = segment.read(&tensor);
        break;
      default:
        status = segment.read_into(buffer.data(), n * 8, &tensor);
    }
    if (status != JM_OK) fail("read", status);
    if (tensor.version < last) fail("a version went back");
    check(segment, tensor, n);
    last = tensor.version;
  }
}

// ---- Streams

void stream_write(judemap::Stream& stream, std::uint64_t n, std::uint64_t commits) {
  for (std::uint64_t i = 0; commits == 0 || i < commits;) {
    const std::uint64_t version = stream.protocol().version() + 2;
    std::uint64_t shape[JM_MAX_DIMS];
    std::uint32_t ndim;
    const std::uint64_t size = shape_of(version, n, shape, &ndim);
    void* data;
    std::uint64_t length;
    if (const jm_status status = stream.begin(shape, ndim, JM_INT64, &data, &length)) fail("begin", status);
    if (stream.protocol().version() + 2 != version) {  // what a dead writer left was put right, which was a frame
      if (const jm_status status = stream.abort()) fail("abort", status);
      continue;
    }
    auto* values = static_cast<std::int64_t*>(data);
    for (std::uint64_t k = 0; k < size; ++k) values[k] = element(version, k);
    if (const jm_status status = stream.commit()) fail("commit", status);
    ++i;
  }
}

void check_frame(const jm_tensor& frame, std::uint64_t n) {
  std::uint64_t shape[JM_MAX_DIMS];
  std::uint32_t ndim;
  const std::uint64_t size = shape_of(frame.version, n, shape, &ndim);
  if (ndim != frame.ndim || std::memcmp(shape, frame.shape, ndim * sizeof *shape) != 0) fail("wrong shape");
  const auto* values = static_cast<const std::int64_t*>(frame.data);
  for (std::uint64_t i = 0; i < size; ++i) {
    if (values[i] != element(frame.version, i)) fail("a held frame changed");
  }
}

void stream_read(judemap::Stream& stream, std::uint64_t n, std::uint64_t until, std::uint64_t held) {
  judemap::Reader reader;
  if (const jm_status status = reader.open(&stream)) fail("a place", status);
  std::vector<jm_tensor> kept(held);
  std::uint64_t frames = 0;
  for (std::uint64_t last = 0; until == 0 || last < until;) {
    jm_tensor frame;
    const jm_status status = reader.next(10'000'000'000, &frame);
    if (status == JM_ERR_WRITER_DIED) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      continue;
    }
    if (status != JM_OK) fail("next", status);
    if (frame.version <= last) fail("a version went back");
    if (stream.protocol().every_frame() && last != 0 && frame.version != last + 2) fail("a frame is missing");
    check_frame(frame, n);
    last = frame.version;
    if (held == 0) continue;
    jm_tensor& oldest = kept[frames++ % held];
    if (oldest.version != 0) {
      check_frame(oldest, n);
      reader.release(oldest);
    }
    reader.keep(frame);
    oldest = frame;
  }
  for (const jm_tensor& frame : kept) {
    if (frame.version != 0) check_frame(frame, n);
  }
}

void stream_turns(judemap::Stream& stream, std::uint64_t commits) {
  judemap::Reader reader;
  if (const jm_status status = reader.open(&stream)) fail("a place", status);
  for (std::uint64_t i = 0; i < commits; ++i) {
    jm_tensor frame;
    if (const jm_status status = stream.fill(nullptr, 0, JM_UINT8, 1)) fail("fill", status);
    if (const jm_status status = reader.next(-1, &frame)) fail("next", status);
  }
}

// Whether the command is one for a stream, which then was done.
bool stream_command(const std::string& command, const char* name, std::uint64_t first, std::uint64_t second,
                    std::uint64_t third) {
  if (command.rfind("stream-", 0) != 0) return false;
  if (command == "stream-create") {
    for (;;) {
      judemap::Stream made;
      if (const jm_status status = made.create(name, 3, first)) fail("create", status);
      if (const jm_status status = judemap::Stream::remove(name)) fail("remove", status);
    }
  }
  judemap::Stream stream;
  const jm_status opened = std::strcmp(name, "-") == 0 ? stream.open(passed()) : stream.open(name);
  if (opened != JM_OK) fail("open", opened);
  if (command == "stream-write") {
    stream_write(stream, first, second);
  } else if (command == "stream-read") {
    stream_read(stream, first, second, third);
  } else if (command == "stream-turns") {
    stream_turns(stream, first);
  } else {
    fail("unknown command");
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string command = argc > 2 ? argv[1] : "";
  const auto number = [&](int i) { return i < argc ? std::strtoull(argv[i], nullptr, 10) : 0; };
  judemap::Segment segment;
  if (command != "stream-turns" && (command != "write" || number(4) == 0)) {
    // What runs until it is killed also ends with the process that started it.
    std::thread([] {
      char byte;
      while (::read(0, &byte, 1) > 0) continue;
      _exit(0);
    }).detach();
  }
  if (argc > 2 && stream_command(command, argv[2], number(3), number(4), number(5))) return 0;
  if (command == "create") {
    for (;;) {
      judemap::Segment made;
      if (const jm_status status = made.create(argv[2], number(3))) fail("create", status);
      if (const jm_status status = judemap::Segment::remove(argv[2])) fail("remove", status);
    }
  }
  const jm_status opened = std::strcmp(argv[2], "-") == 0 ? segment.open(passed()) : segment.open(argv[2]);
  if (opened != JM_OK) fail("open", opened);
  if (command == "write") {
    write(segment, number(3), number(4));
  } else if (command == "idle") {
    const unsigned char one = 1;
    if (const jm_status status = segment.write(nullptr, 0, JM_UINT8, &one, 1)) fail("write", status);
    for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
  } else if (command == "read") {
    read(segment, number(3), number(4));
  } else if (command == "park") {
    for (std::uint64_t last = 0;;) {
      jm_tensor tensor;
      if (segment.next(last, -1, &tensor) == JM_OK) {
        last = tensor.version;
      } else {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
    }
  } else {
    fail("unknown command");
  }
}
