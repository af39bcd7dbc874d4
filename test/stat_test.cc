// What a header says without being mapped. Linux; elsewhere the core answers ENOSYS.

#include "helper.h"

#ifdef __linux__

#include <cerrno>
#include <cstdint>
#include <string>

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

}  // namespace

#endif  // __linux__
