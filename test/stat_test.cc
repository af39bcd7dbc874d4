// What a header says, and its tensor, without being mapped. Linux; elsewhere the core answers ENOSYS.

#include "helper.h"

#ifdef __linux__

#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdint>
#include <string>
#include <vector>

namespace {

using namespace helper;

TEST(Stat, Segment) {
  const Name name;
  const int before = descriptors();
  jm_info info;
  EXPECT_EQ(jm_stat(name.text(), &info, nullptr, 0), JM_ERR_SYSTEM);
  EXPECT_EQ(errno, ENOENT);
  EXPECT_EQ(info.kind, 0u);
  {
    const Handle segment = create(name, 100);
    ASSERT_EQ(jm_stat(name.text(), &info, nullptr, 0), JM_OK);
    EXPECT_EQ(info.kind, JM_KIND_SEGMENT);
    EXPECT_EQ(info.marked, 1u);
    EXPECT_EQ(info.flags, JM_FLAG_WRITERS_WAKE);
    EXPECT_EQ(info.capacity, 100u);
    EXPECT_EQ(info.file_bytes, static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE)));
    EXPECT_EQ(info.writer, JM_WRITER_NONE);
    EXPECT_EQ(info.tensor_status, JM_ERR_EMPTY);
    EXPECT_EQ(info.creator.process, static_cast<std::uint32_t>(getpid()));
    EXPECT_EQ(info.creator_presence, JM_PRESENT);
    EXPECT_EQ(info.holders, JM_PRESENT);

    const std::uint64_t shape[] = {2, 3};
    ASSERT_EQ(jm_fill(segment.get(), shape, 2, JM_INT16, 7), JM_OK);
    ASSERT_EQ(jm_stat(name.text(), &info, nullptr, 0), JM_OK);
    EXPECT_EQ(info.writer, JM_WRITER_OTHER);
    EXPECT_EQ(info.tensor_status, JM_OK);
    EXPECT_EQ(info.sequence, 2u);
    EXPECT_EQ(info.tensor.version, 2u);
    EXPECT_EQ(info.tensor.ndim, 2u);
    EXPECT_EQ(info.tensor.dtype, JM_INT16);
    EXPECT_EQ(info.tensor.shape[1], 3u);
    EXPECT_EQ(info.tensor.byte_length, 12u);
    EXPECT_EQ(info.tensor.data, nullptr);

    void* data;
    std::uint64_t length;
    ASSERT_EQ(jm_begin(segment.get(), shape, 1, JM_INT16, &data, &length), JM_OK);
    ASSERT_EQ(jm_stat(name.text(), &info, nullptr, 0), JM_OK);
    EXPECT_EQ(info.tensor_status, JM_ERR_BUSY);
    EXPECT_EQ(info.sequence, 3u);
    EXPECT_EQ(info.tensor.ndim, 0u);
    ASSERT_EQ(jm_abort(segment.get()), JM_OK);
    ASSERT_EQ(jm_stat(name.text(), &info, nullptr, 0), JM_OK);
    EXPECT_EQ(info.tensor_status, JM_ERR_EMPTY);

    jm_base(segment.get())->ndim.store(9);
    ASSERT_EQ(jm_stat(name.text(), &info, nullptr, 0), JM_OK);
    EXPECT_EQ(info.tensor_status, JM_ERR_CORRUPT);
    EXPECT_STREQ(info.corrupt, "ndim");
    EXPECT_EQ(info.tensor.ndim, 9u);

    jm_base(segment.get())->capacity.store(1 << 30);
    char why[256];
    EXPECT_EQ(jm_stat(name.text(), &info, why, sizeof why), JM_ERR_CORRUPT);
    EXPECT_NE(std::string(why).find("capacity is 1073741824"), std::string::npos) << why;
    EXPECT_EQ(jm_stat(name.text(), &info, why, 5), JM_ERR_CORRUPT);  // no more than there is room for
    EXPECT_EQ(std::string(why).size(), 4u);
    EXPECT_EQ(jm_stat(name.text(), &info, nullptr, 0), JM_ERR_CORRUPT);
  }
  EXPECT_EQ(descriptors(), before);
}

// A child that has inherited a mapping has the segment open, also when its parent has not any more.
TEST(Stat, HoldersAreMappings) {
  const Name name;
  Handle segment = create(name, 100);
  int end[2];
  ASSERT_EQ(pipe(end), 0);
  const pid_t child = fork();
  if (child == 0) {
    close(end[1]);
    char byte;
    _exit(read(end[0], &byte, 1) == 0 ? 0 : 1);
  }
  close(end[0]);
  segment.reset();
  jm_info info;
  ASSERT_EQ(jm_stat(name.text(), &info, nullptr, 0), JM_OK);
  EXPECT_EQ(info.holders, JM_PRESENT);
  close(end[1]);
  int status;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_EQ(jm_stat(name.text(), &info, nullptr, 0), JM_OK);
  EXPECT_EQ(info.holders, JM_GONE);
  EXPECT_EQ(info.creator_presence, JM_PRESENT);

  // A process that has died, and that nobody has waited for yet, is gone too.
  const pid_t zombie = fork();
  if (zombie == 0) {
    jm_segment* made;
    _exit(jm_remove(name.text()) == JM_OK && jm_create(name.text(), 8, 0600, 0, &made) == JM_OK ? 0 : 1);
  }
  siginfo_t ended;
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(zombie), &ended, WEXITED | WNOWAIT), 0);
  ASSERT_EQ(jm_stat(name.text(), &info, nullptr, 0), JM_OK);
  EXPECT_EQ(info.creator.process, static_cast<std::uint32_t>(zombie));
  EXPECT_EQ(info.creator_presence, JM_GONE);
  EXPECT_EQ(info.holders, JM_GONE);
  ASSERT_EQ(waitpid(zombie, &status, 0), zombie);
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST(Stat, Stream) {
  const Name name;
  jm_stream* stream;
  must(jm_stream_create(name.text(), 3, 100, 0600, JM_EVERY_FRAME, &stream), "jm_stream_create");
  jm_reader* reader;
  must(jm_reader_new(stream, &reader), "jm_reader_new");
  const std::uint64_t shape[] = {5};
  jm_tensor frame;
  for (int i = 0; i < 4; ++i) {
    must(jm_stream_fill(stream, shape, 1, JM_UINT8, i, 0), "jm_stream_fill");
    must(jm_reader_next(reader, 0, &frame), "jm_reader_next");
  }
  jm_info info;
  ASSERT_EQ(jm_stat(name.text(), &info, nullptr, 0), JM_OK);
  EXPECT_EQ(info.kind, JM_KIND_STREAM);
  EXPECT_EQ(info.flags & JM_FLAG_EVERY_FRAME, JM_FLAG_EVERY_FRAME);
  EXPECT_EQ(info.slots, 3u);
  EXPECT_EQ(info.sequence, 8u);
  EXPECT_EQ(info.tensor.version, 8u);
  EXPECT_EQ(info.tensor.byte_length, 5u);
  ASSERT_EQ(info.readers, 1u);
  EXPECT_EQ(info.reader[0].process, static_cast<std::uint32_t>(getpid()));
  EXPECT_EQ(info.reader[0].cursor, 5u);
  EXPECT_EQ(info.reader[0].held, 1u);
  EXPECT_EQ(info.reader[0].dead, 0u);
  jm_reader_free(reader);
  ASSERT_EQ(jm_stat(name.text(), &info, nullptr, 0), JM_OK);
  EXPECT_EQ(info.readers, 0u);
  jm_stream_free(stream);
}

// Commits follow each other without a pause, but the writer is stopped in the middle of some, as by the system: between
// the metadata of two commits. A mixture that could be true is none all the same.
TEST(Stat, HalfOfAHeaderIsNone) {
  const Name name;
  const Handle segment = create(name, 100);
  const File file(open(name.path().c_str(), O_RDWR));
  void* const memory = mmap(nullptr, sizeof(jm_header), PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  ASSERT_NE(memory, MAP_FAILED);
  auto& header = *static_cast<jm_header*>(memory);
  std::atomic<bool> enough{false};
  std::thread writer([&] {
    const auto commit = [&](std::uint32_t ndim, std::uint32_t dtype, std::uint64_t second, std::uint64_t bytes,
                            bool stops) {
      header.sequence.fetch_add(1);
      header.ndim = ndim;
      if (stops) std::this_thread::sleep_for(std::chrono::microseconds(5));
      header.dtype = dtype;
      header.shape[0] = 2;
      header.shape[1] = second;
      header.shape[2] = 1;
      header.byte_length = bytes;
      header.sequence.fetch_add(1);
    };
    while (!enough) {
      for (int i = 0; i < 100; ++i) {
        commit(3, JM_FLOAT64, 2, 32, false);
        commit(2, JM_UINT8, 4, 8, i == 99);  // where it stops: float64, 2 x 2, 32 bytes
      }
    }
  });
  int seen = 0, halves = 0;
  for (const Clock::time_point end = Clock::now() + milliseconds(500); Clock::now() < end;) {
    jm_info info;
    ASSERT_EQ(jm_stat(name.text(), &info, nullptr, 0), JM_OK);
    if (info.tensor_status != JM_OK) continue;
    ++seen;
    halves += info.tensor.ndim != (info.tensor.dtype == JM_UINT8 ? 2u : 3u);
  }
  enough = true;
  writer.join();
  munmap(memory, sizeof(jm_header));
  EXPECT_EQ(halves, 0) << "of " << seen;
}

// What tells a file from another is the system's number of it.
TEST(Stat, TellsFilesApart) {
  const Name name, other;
  const Handle segment = create(name, 100), beside = create(other, 100);
  const auto id = [](const Name& of) {
    jm_info info;
    must(jm_stat(of.text(), &info, nullptr, 0), "jm_stat");
    struct stat file;
    EXPECT_EQ(stat(of.path().c_str(), &file), 0);
    EXPECT_EQ(info.file.device, file.st_dev);
    EXPECT_EQ(info.file.index, file.st_ino);
    return info.file.index;
  };
  const std::uint64_t first = id(name);
  EXPECT_NE(first, id(other));
  EXPECT_EQ(first, id(name));
  must(jm_remove(name.text()), "jm_remove");
  const Handle remade = create(name, 100);
  EXPECT_NE(first, id(name));
}

// Stat with a copy into a buffer of so many bytes, behind which nothing may be written.
struct Copied {
  jm_info info;
  std::vector<std::uint8_t> bytes;
  std::string why;

  jm_status of(const Name& name, std::size_t capacity) {
    char text[256];
    bytes.assign(capacity + 8, 0xEE);
    const jm_status status = jm_stat_copy(name.text(), bytes.data(), capacity, &info, text, sizeof text);
    why = text;
    for (std::size_t i = capacity; i < capacity + 8; ++i) EXPECT_EQ(bytes[i], 0xEE) << i;
    bytes.resize(capacity);
    return status;
  }
};

void overwrite(const Name& name, std::uint64_t offset, std::uint64_t value, std::size_t bytes) {
  const File file(open(name.path().c_str(), O_RDWR));
  ASSERT_EQ(pwrite(file.get(), &value, bytes, static_cast<off_t>(offset)), static_cast<ssize_t>(bytes));
}

TEST(StatCopy, Segment) {
  const Name name;
  const int before = descriptors();
  Copied copy;
  EXPECT_EQ(copy.of(name, 4), JM_ERR_SYSTEM);
  EXPECT_EQ(errno, ENOENT);
  {
    const Handle segment = create(name, 100);
    ASSERT_EQ(copy.of(name, 100), JM_OK);
    EXPECT_EQ(copy.info.tensor_status, JM_ERR_EMPTY);

    const std::uint64_t shape[] = {2, 3};
    const std::int16_t values[] = {1, 2, 3, 4, 5, -6};
    must(jm_write(segment.get(), shape, 2, JM_INT16, values, sizeof values), "jm_write");
    jm_info plain;
    for (const std::size_t room : {std::size_t{12}, std::size_t{13}, std::size_t{100}}) {
      ASSERT_EQ(copy.of(name, room), JM_OK);
      EXPECT_EQ(copy.info.tensor_status, JM_OK);
      EXPECT_EQ(std::memcmp(copy.bytes.data(), values, sizeof values), 0);
      // All else is what jm_stat says.
      ASSERT_EQ(jm_stat(name.text(), &plain, nullptr, 0), JM_OK);
      EXPECT_EQ(std::memcmp(&plain, &copy.info, sizeof plain), 0);
    }
    for (const std::size_t room : {std::size_t{0}, std::size_t{11}}) {
      ASSERT_EQ(copy.of(name, room), JM_OK);
      EXPECT_EQ(copy.info.tensor_status, JM_ERR_BUFFER);
      EXPECT_EQ(copy.info.tensor.byte_length, 12u);
      EXPECT_EQ(copy.info.tensor.shape[1], 3u);
      EXPECT_EQ(copy.bytes, std::vector<std::uint8_t>(room, 0xEE));
    }
    ASSERT_EQ(jm_stat_copy(name.text(), nullptr, 0, &copy.info, nullptr, 0), JM_OK);
    EXPECT_EQ(copy.info.tensor_status, JM_ERR_BUFFER);

    const std::uint64_t none[] = {0, 7};  // no bytes need no room
    must(jm_write(segment.get(), none, 2, JM_INT16, nullptr, 0), "jm_write");
    ASSERT_EQ(jm_stat_copy(name.text(), nullptr, 0, &copy.info, nullptr, 0), JM_OK);
    EXPECT_EQ(copy.info.tensor_status, JM_OK);
    EXPECT_EQ(copy.info.tensor.shape[1], 7u);

    void* data;
    std::uint64_t length;
    must(jm_begin(segment.get(), shape, 1, JM_INT16, &data, &length), "jm_begin");
    ASSERT_EQ(copy.of(name, 100), JM_OK);
    EXPECT_EQ(copy.info.tensor_status, JM_ERR_BUSY);
    EXPECT_EQ(copy.info.tensor.ndim, 0u);
    must(jm_abort(segment.get()), "jm_abort");
  }
  EXPECT_EQ(descriptors(), before);
}

TEST(StatCopy, Stream) {
  const Name name;
  jm_stream* stream;
  must(jm_stream_create(name.text(), 3, 100, 0600, 0, &stream), "jm_stream_create");
  Copied copy;
  ASSERT_EQ(copy.of(name, 100), JM_OK);
  EXPECT_EQ(copy.info.tensor_status, JM_ERR_EMPTY);
  const std::uint64_t shape[] = {5};
  for (std::uint8_t i = 1; i < 9; ++i) {
    must(jm_stream_fill(stream, shape, 1, JM_UINT8, i, 0), "jm_stream_fill");
    ASSERT_EQ(copy.of(name, 5), JM_OK);
    EXPECT_EQ(copy.info.tensor_status, JM_OK);
    EXPECT_EQ(copy.info.tensor.version, 2u * i);
    EXPECT_EQ(copy.bytes, std::vector<std::uint8_t>(5, i));
  }
  ASSERT_EQ(copy.of(name, 4), JM_OK);
  EXPECT_EQ(copy.info.tensor_status, JM_ERR_BUFFER);
  EXPECT_EQ(copy.info.tensor.byte_length, 5u);

  void* data;
  std::uint64_t length;
  must(jm_stream_begin(stream, shape, 1, JM_UINT8, &data, &length, 0), "jm_stream_begin");
  ASSERT_EQ(copy.of(name, 5), JM_OK);  // the newest frame is another slot's
  EXPECT_EQ(copy.info.tensor_status, JM_OK);
  EXPECT_EQ(copy.bytes[0], 8);
  must(jm_stream_abort(stream), "jm_stream_abort");
  jm_stream_free(stream);
}

// Committed in the slot, and not yet in the header: who saw that frame could find an older one at the next call.
TEST(StatCopy, AFrameThatIsNotYetTheNewest) {
  const Name name;
  jm_stream* stream;
  must(jm_stream_create(name.text(), 3, 100, 0600, 0, &stream), "jm_stream_create");
  const std::uint64_t shape[] = {5};
  for (int i = 0; i < 3; ++i) must(jm_stream_fill(stream, shape, 1, JM_UINT8, 1, 0), "jm_stream_fill");
  for (std::uint32_t i = 0; i < 3; ++i) jm_stream_slot(stream, i)->sequence = 8;
  Copied copy;
  ASSERT_EQ(copy.of(name, 5), JM_OK);
  EXPECT_EQ(copy.info.tensor_status, JM_ERR_BUSY);
  overwrite(name, offsetof(jm_stream_header, sequence), 8, 8);
  ASSERT_EQ(copy.of(name, 5), JM_OK);
  EXPECT_EQ(copy.info.tensor_status, JM_OK);
  EXPECT_EQ(copy.info.tensor.version, 8u);
  jm_stream_free(stream);
}

// While a writer goes on, a copy is that of its version, or none.
template <class Commit>
void copy_beside(const Name& name, std::uint64_t n, Commit commit) {
  std::atomic<bool> enough{false};
  std::thread writer([&] {
    while (!enough) {
      for (int i = 0; i < 200; ++i) commit();  // for so long there is no time for a copy of a segment
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
  });
  Copied copy;
  int copies = 0, busy = 0, torn = 0;
  std::uint64_t newest = 0;
  for (const Clock::time_point end = Clock::now() + milliseconds(500); Clock::now() < end;) {
    const jm_status status = copy.of(name, n * 8);
    if (status != JM_OK) {
      ADD_FAILURE() << jm_strerror(status) << ": " << copy.why;
      break;
    }
    if (copy.info.tensor_status == JM_ERR_BUSY || copy.info.tensor_status == JM_ERR_EMPTY) {
      ++busy;
      continue;
    }
    EXPECT_EQ(copy.info.tensor_status, JM_OK);
    ++copies;
    jm_tensor tensor = copy.info.tensor;
    tensor.data = copy.bytes.data();
    torn += !whole(tensor, n);
    EXPECT_GE(tensor.version, newest);
    newest = tensor.version;
  }
  enough = true;
  writer.join();
  EXPECT_EQ(torn, 0);
  EXPECT_GT(copies, 0);
  std::printf("%d copies of %llu commits; busy %d times\n", copies, static_cast<unsigned long long>(newest / 2), busy);
}

TEST(StatCopy, OfASegmentIsNeverTorn) {
  for (const std::uint64_t n : {std::uint64_t{4}, std::uint64_t{4096}}) {
    const Name name;
    const Handle segment = create(name, n * 8);
    copy_beside(name, n, [&] { must(commit(segment, n), "commit"); });
  }
}

TEST(StatCopy, OfAStreamIsNeverTorn) {
  for (const std::uint64_t n : {std::uint64_t{4}, std::uint64_t{4096}}) {
    const Name name;
    judemap::Stream stream;
    must(stream.create(name.text(), 3, n * 8, 0600, 0), "create");
    copy_beside(name, n, [&] { must(commit_frame(&stream, n), "commit_frame"); });
  }
}

// What can't be true is corrupt, and no byte is read for it; the offsets of a hostile header lead nowhere.
TEST(StatCopy, Corrupt) {
  constexpr std::uint64_t kSlot = 8192;  // where the first begins
  static const struct {
    const char* what;
    bool stream;
    std::uint64_t offset, value;
    std::size_t bytes;
    const char* field;  // nullptr: it is neither a segment nor a stream
  } kRows[] = {
      {"nine dimensions", false, offsetof(jm_header, ndim), 9, 4, "ndim"},
      {"no type", false, offsetof(jm_header, dtype), 99, 4, "dtype"},
      {"a shape that overflows", false, offsetof(jm_header, shape), std::uint64_t{1} << 63, 8, "shape"},
      {"more than the segment", false, offsetof(jm_header, byte_length), 101, 8, "byte_length"},
      {"as much as there is", false, offsetof(jm_header, byte_length), UINT64_MAX, 8, "byte_length"},
      {"more than the file", false, offsetof(jm_header, capacity), UINT64_MAX, 8, nullptr},
      {"slots at the end of the address space", true, offsetof(jm_stream_header, block.first), UINT64_MAX - 4095, 8,
       nullptr},
      {"slots far apart", true, offsetof(jm_stream_header, block.stride), std::uint64_t{1} << 62, 8, nullptr},
      {"more slots than the file", true, offsetof(jm_stream_header, block.slots), 256, 4, nullptr},
      {"a slot that is not there", true, offsetof(jm_stream_header, table) + 4, 3, 4, "table"},
      {"a frame that is not there", true, kSlot, 20, 8, "sequence"},
      {"a frame's nine dimensions", true, kSlot + offsetof(jm_header, ndim), 9, 4, "ndim"},
      {"a frame as large as there is", true, kSlot + offsetof(jm_header, byte_length), UINT64_MAX, 8, "byte_length"},
  };
  for (const auto& row : kRows) {
    SCOPED_TRACE(row.what);
    const Name name;
    const std::uint64_t shape[] = {5};
    if (row.stream) {
      jm_stream* stream;
      must(jm_stream_create(name.text(), 3, 100, 0600, 0, &stream), "jm_stream_create");
      must(jm_stream_fill(stream, shape, 1, JM_UINT8, 1, 0), "jm_stream_fill");
      jm_stream_free(stream);
    } else {
      must(jm_fill(create(name, 100).get(), shape, 1, JM_UINT8, 1), "jm_fill");
    }
    Copied copy;
    ASSERT_EQ(copy.of(name, 100), JM_OK);
    ASSERT_EQ(copy.info.tensor_status, JM_OK);
    overwrite(name, row.offset, row.value, row.bytes);
    const jm_status status = copy.of(name, 100);
    EXPECT_EQ(copy.bytes, std::vector<std::uint8_t>(100, 0xEE));
    if (row.field == nullptr) {
      EXPECT_EQ(status, JM_ERR_CORRUPT);
      EXPECT_NE(copy.why, "");
    } else {
      ASSERT_EQ(status, JM_OK);
      EXPECT_EQ(copy.info.tensor_status, JM_ERR_CORRUPT);
      EXPECT_STREQ(copy.info.corrupt, row.field);
    }
  }
}

// Somebody cuts the file short and lets it grow all the time: that is an error, and no fault.
TEST(StatCopy, CutShort) {
  const Name name;
  constexpr std::uint64_t kBytes = 1 << 16;
  must(jm_fill(create(name, kBytes).get(), &kBytes, 1, JM_UINT8, 1), "jm_fill");
  const File file(open(name.path().c_str(), O_RDWR));
  struct stat status;
  ASSERT_EQ(fstat(file.get(), &status), 0);
  std::vector<std::uint8_t> content(static_cast<std::size_t>(status.st_size));
  ASSERT_EQ(pread(file.get(), content.data(), content.size(), 0), status.st_size);
  std::atomic<bool> enough{false};
  std::thread hostile([&] {
    for (unsigned i = 0; !enough; ++i) {
      EXPECT_EQ(ftruncate(file.get(), i * 1000 % status.st_size), 0);
      std::this_thread::yield();
      EXPECT_EQ(pwrite(file.get(), content.data(), content.size(), 0), status.st_size);
      std::this_thread::sleep_for(std::chrono::microseconds(i % 50));
    }
  });
  Copied copy;
  int good = 0, cut = 0, others = 0;
  for (const Clock::time_point end = Clock::now() + milliseconds(500); Clock::now() < end;) {
    const jm_status got = copy.of(name, kBytes);
    if (got != JM_OK) {
      EXPECT_EQ(got, JM_ERR_CORRUPT);
      EXPECT_NE(copy.why, "");
      cut += copy.why.find("cut short") != std::string::npos;
    } else {
      ++(copy.info.tensor_status == JM_OK ? good : others);
    }
  }
  enough = true;
  hostile.join();
  EXPECT_GT(good, 0);
  EXPECT_GT(cut, 0);
  std::printf("%d copies, %d cut short, %d others\n", good, cut, others);
}

}  // namespace

#endif  // __linux__
