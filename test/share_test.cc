// Segments by name and by descriptor: which files are accepted, what a handle may do, and the writer's lock among many
// handles. Linux; elsewhere the core returns ENOSYS.

#include "helper.h"

#ifdef __linux__

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace helper;

TEST(Share, NamesComeAndGo) {
  const Name name;
  Handle a = create(name, 100);
  EXPECT_EQ(jm_capacity(a.get()), 100u);
  EXPECT_EQ(access(name.path().c_str(), F_OK), 0);

  jm_segment* none = a.get();
  EXPECT_EQ(jm_create(name.text(), 100, 0600, 0, &none), JM_ERR_SYSTEM);
  EXPECT_EQ(errno, EEXIST);
  EXPECT_EQ(none, nullptr);
  judemap::Segment second;  // an object that failed to make a segment can make another
  EXPECT_EQ(second.create(name.text(), 8), JM_ERR_SYSTEM);
  EXPECT_EQ(second.create(8), JM_OK);

  Handle b = open_name(name);
  EXPECT_EQ(jm_capacity(b.get()), 100u);
  jm_tensor tensor;
  EXPECT_EQ(jm_read(b.get(), &tensor), JM_ERR_EMPTY);
  ASSERT_EQ(write_byte(a, 42), JM_OK);
  ASSERT_EQ(jm_read(b.get(), &tensor), JM_OK);
  EXPECT_EQ(tensor.version, 2u);
  EXPECT_EQ(*static_cast<const std::uint8_t*>(tensor.data), 42);
  EXPECT_TRUE(jm_valid(b.get(), &tensor));

  ASSERT_EQ(jm_remove(name.text()), JM_OK);
  EXPECT_NE(access(name.path().c_str(), F_OK), 0);
  EXPECT_EQ(jm_remove(name.text()), JM_ERR_SYSTEM);
  EXPECT_EQ(errno, ENOENT);
  EXPECT_EQ(jm_open(name.text(), 0, &none, nullptr), JM_ERR_SYSTEM);
  EXPECT_EQ(errno, ENOENT);
  EXPECT_EQ(none, nullptr);

  // A process that has the segment open can go on using it, even if the name is given to a new one.
  const Handle other = create(name, 50);
  ASSERT_EQ(write_byte(a, 43), JM_OK);
  EXPECT_FALSE(jm_valid(b.get(), &tensor));
  ASSERT_EQ(jm_read(b.get(), &tensor), JM_OK);
  EXPECT_EQ(*static_cast<const std::uint8_t*>(tensor.data), 43);
  EXPECT_EQ(jm_version(other.get()), 0u);
}

TEST(Share, BadNames) {
  const std::string longest(255, 'x'), too_long(256, 'x');
  for (const char* name : {static_cast<const char*>(nullptr), "", ".", "..", "a/b", "/a", "a/", too_long.c_str()}) {
    SCOPED_TRACE(name == nullptr ? "null" : name);
    jm_segment* segment;
    EXPECT_EQ(jm_create(name, 8, 0600, 0, &segment), JM_ERR_NAME);
    EXPECT_EQ(segment, nullptr);
    EXPECT_EQ(jm_open(name, 0, &segment, nullptr), JM_ERR_NAME);
    EXPECT_EQ(segment, nullptr);
    EXPECT_EQ(jm_remove(name), JM_ERR_NAME);
  }
  jm_segment* segment;
  EXPECT_EQ(jm_open(longest.c_str(), 0, &segment, nullptr), JM_ERR_SYSTEM);
  EXPECT_EQ(errno, ENOENT);
  EXPECT_EQ(jm_remove("..."), JM_ERR_SYSTEM);
  EXPECT_EQ(errno, ENOENT);
}

TEST(Share, BadCapacities) {
  const Name name;
  for (const std::uint64_t capacity : {std::uint64_t{0}, UINT64_MAX, std::uint64_t{1} << 63}) {
    jm_segment* segment;
    EXPECT_EQ(jm_create(name.text(), capacity, 0600, 0, &segment), JM_ERR_CAPACITY);
    EXPECT_EQ(jm_create_sealed(capacity, 0, &segment), JM_ERR_CAPACITY);
  }
  // A segment larger than the memory is refused when it is made, instead of raising SIGBUS later. Nothing is left
  // behind.
  struct statvfs room;
  ASSERT_EQ(statvfs("/dev/shm", &room), 0);
  if (room.f_blocks == 0) GTEST_SKIP() << "/dev/shm has no limit";
  jm_segment* segment;
  EXPECT_EQ(jm_create(name.text(), room.f_blocks * room.f_frsize, 0600, 0, &segment), JM_ERR_SYSTEM);
  EXPECT_EQ(errno, ENOSPC);
  EXPECT_NE(access(name.path().c_str(), F_OK), 0);
}

TEST(Share, Mode) {
  const Name name;
  const mode_t mask = umask(0777);
  const Handle segment = create(name, 8, 0640);
  umask(mask);
  struct stat status;
  ASSERT_EQ(stat(name.path().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0640u);
}

TEST(Share, FilesThatAreNoSegments) {
  const Name name;
  const int before = descriptors();
  struct {
    off_t size;
    std::uint32_t magic;
    std::uint64_t capacity;
    const char* why;
  } const files[] = {
      {0, 0, 0, "empty"},
      {1, 0, 0, "too short"},
      {JM_DATA_OFFSET - 1, 0, 0, "too short"},
      {JM_DATA_OFFSET, JM_MAGIC, 1, "too short"},
      {4096, JM_MAGIC + 1, 100, "magic"},
      {4096, JM_MAGIC, 4096 - JM_DATA_OFFSET + 1, "capacity"},
      {4096, JM_MAGIC, UINT64_MAX, "capacity"},
      {4096, JM_MAGIC, 0, "capacity"},
  };
  for (const auto& file : files) {
    SCOPED_TRACE(file.why);
    make_file(name, file.size, file.magic, file.capacity);
    for (const std::uint32_t flags : {0u, JM_READ_ONLY}) {
      const char* why = nullptr;
      jm_segment* segment;
      EXPECT_EQ(jm_open(name.text(), flags, &segment, &why), JM_ERR_CORRUPT);
      EXPECT_EQ(segment, nullptr);
      ASSERT_NE(why, nullptr);
      EXPECT_NE(std::string(why).find(file.why), std::string::npos) << why;
      EXPECT_EQ(jm_open(name.text(), flags, &segment, nullptr), JM_ERR_CORRUPT);
    }
  }
  // The capacity is all of the file, and not a byte more.
  make_file(name, 4096, JM_MAGIC, 4096 - JM_DATA_OFFSET);
  EXPECT_EQ(jm_capacity(open_name(name).get()), 4096u - JM_DATA_OFFSET);

  jm_segment* segment;
  const char* why = nullptr;
  unlink(name.path().c_str());
  ASSERT_EQ(mkfifo(name.path().c_str(), 0600), 0);
  EXPECT_EQ(jm_open(name.text(), JM_READ_ONLY, &segment, &why), JM_ERR_CORRUPT) << "a FIFO, and it must not wait";
  unlink(name.path().c_str());
  const Name target;
  const Handle real = create(target, 8);
  ASSERT_EQ(symlink(target.path().c_str(), name.path().c_str()), 0);
  EXPECT_EQ(jm_open(name.text(), 0, &segment, &why), JM_ERR_SYSTEM);
  EXPECT_EQ(errno, ELOOP);
  EXPECT_EQ(descriptors(), before + 1) << "a refused file stays open";
}

// A page of a file that has no memory is allocated when it is accessed, and if there is none left that raises SIGBUS.
// So opening allocates it, or refuses the file.
TEST(Share, FilesWithHoles) {
  constexpr off_t kSize = 1 << 20;
  const Name name;
  make_file(name, kSize, JM_MAGIC, kSize - JM_DATA_OFFSET);
  struct stat status;
  ASSERT_EQ(stat(name.path().c_str(), &status), 0);
  ASSERT_LT(status.st_blocks * 512, kSize);
  jm_segment* segment;
  const char* why = nullptr;
  EXPECT_EQ(jm_open(name.text(), JM_READ_ONLY, &segment, &why), JM_ERR_CORRUPT);
  ASSERT_NE(why, nullptr);
  EXPECT_NE(std::string(why).find("no memory"), std::string::npos) << why;
  const Handle writable = open_name(name);
  ASSERT_EQ(stat(name.path().c_str(), &status), 0);
  EXPECT_GE(status.st_blocks * 512, kSize);
  EXPECT_EQ(jm_capacity(open_name(name, JM_READ_ONLY).get()), std::uint64_t{kSize - JM_DATA_OFFSET});
}

TEST(Share, ReadOnly) {
  const Name name;
  const Handle writer = create(name, 8);
  const Handle reader = open_name(name, JM_READ_ONLY);
  void* data;
  std::uint64_t length;
  EXPECT_EQ(write_byte(reader), JM_ERR_READ_ONLY);
  EXPECT_EQ(jm_fill(reader.get(), nullptr, 0, JM_UINT8, 1), JM_ERR_READ_ONLY);
  EXPECT_EQ(jm_begin(reader.get(), nullptr, 0, JM_UINT8, &data, &length), JM_ERR_READ_ONLY);
  EXPECT_EQ(jm_version(writer.get()), 0u);
  ASSERT_EQ(write_byte(writer, 9), JM_OK) << "the refused writes left something locked";

  std::uint8_t value = 0;
  jm_tensor tensor;
  ASSERT_EQ(jm_read_into(reader.get(), &value, 1, &tensor), JM_OK);
  EXPECT_EQ(value, 9);
  EXPECT_EQ(jm_writer_state(reader.get()), JM_WRITER_OTHER);

  // A read-only handle can't ask to be woken, and still can wait.
  std::thread waiting([&] {
    jm_tensor next;
    EXPECT_EQ(jm_next(reader.get(), 2, 10 * kSecond, &next), JM_OK);
    EXPECT_EQ(next.version, 4u);
  });
  std::this_thread::sleep_for(milliseconds(5));
  EXPECT_EQ(waiters(writer), 0u);
  EXPECT_EQ(write_byte(writer), JM_OK);
  waiting.join();

  // The right to write does not come back with a descriptor.
  int descriptor;
  EXPECT_EQ(jm_descriptor(reader.get(), 1, &descriptor), JM_ERR_READ_ONLY);
  ASSERT_EQ(jm_descriptor(reader.get(), 0, &descriptor), JM_OK);
  EXPECT_EQ(fcntl(descriptor, F_GETFL) & O_ACCMODE, O_RDONLY);
  close(descriptor);
  EXPECT_EQ(jm_retire(reader.get()), JM_OK);
}

TEST(Share, SealedDescriptors) {
  const Handle segment = create_sealed(100);
  EXPECT_EQ(jm_capacity(segment.get()), 100u);
  int descriptor;
  ASSERT_EQ(jm_descriptor(segment.get(), 1, &descriptor), JM_OK);
  const File file(descriptor);
  EXPECT_NE(fcntl(descriptor, F_GETFD) & FD_CLOEXEC, 0);
  struct stat status;
  ASSERT_EQ(fstat(descriptor, &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0600u) << "who gets it for reading could open it for writing";
  EXPECT_NE(ftruncate(descriptor, 0), 0);
  EXPECT_EQ(errno, EPERM);
  EXPECT_NE(ftruncate(descriptor, status.st_size * 2), 0);
  EXPECT_EQ(errno, EPERM);
  EXPECT_NE(fcntl(descriptor, F_ADD_SEALS, F_SEAL_WRITE), 0);
  EXPECT_EQ(errno, EPERM);

  jm_segment* opened;
  ASSERT_EQ(jm_open_descriptor(descriptor, 0, &opened, nullptr), JM_OK);
  const Handle other(opened);
  EXPECT_EQ(jm_capacity(other.get()), 100u);
  ASSERT_EQ(write_byte(segment, 5), JM_OK);
  jm_tensor tensor;
  ASSERT_EQ(jm_read(other.get(), &tensor), JM_OK);
  EXPECT_EQ(*static_cast<const std::uint8_t*>(tensor.data), 5);
  // The descriptor that was given stays the caller's, and the lock is not bound to it.
  EXPECT_EQ(fcntl(descriptor, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
  EXPECT_EQ(write_byte(other), JM_ERR_WRITER_ACTIVE);
}

// Only the handle that made it ever writes to it.
TEST(Share, SealedAgainstWriting) {
  jm_segment* made;
  ASSERT_EQ(jm_create_sealed(8, JM_SEAL_WRITES, &made), JM_OK);
  const Handle segment(made);
  ASSERT_EQ(write_byte(segment, 1), JM_OK);
  for (const int writable : {1, 0}) {
    SCOPED_TRACE(writable);
    int descriptor;
    ASSERT_EQ(jm_descriptor(segment.get(), writable, &descriptor), JM_OK);
    const File file(descriptor);
    const std::uint8_t byte = 9;
    if (writable != 0) {
      EXPECT_EQ(pwrite(descriptor, &byte, 1, JM_DATA_OFFSET), -1);
      EXPECT_EQ(errno, EPERM);
    }
    EXPECT_EQ(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0), MAP_FAILED);
    jm_segment* opened;
    EXPECT_EQ(jm_open_descriptor(descriptor, 0, &opened, nullptr), JM_ERR_SYSTEM);
    EXPECT_EQ(errno, writable != 0 ? EPERM : EACCES);
    ASSERT_EQ(jm_open_descriptor(descriptor, JM_READ_ONLY, &opened, nullptr), JM_OK);
    const Handle reader(opened);
    ASSERT_EQ(write_byte(segment, 2), JM_OK);
    jm_tensor tensor;
    ASSERT_EQ(jm_read(reader.get(), &tensor), JM_OK);
    EXPECT_EQ(*static_cast<const std::uint8_t*>(tensor.data), 2);
    EXPECT_EQ(jm_writer_state(reader.get()), JM_WRITER_OTHER);
  }
  EXPECT_EQ(jm_retire(segment.get()), JM_OK);
}

// Reserving memory is tried again if a signal interrupts it. Kernels differ in when they do that, so a filter
// interrupts the first three calls. The test runs in a process of its own, because a filter can't be removed.
TEST(Share, AReservationThatIsInterrupted) {
  const Name name;
  Child creator({"interrupted", name.text()});
  const std::string outcome = creator.line();
  if (outcome == "skip") GTEST_SKIP() << "this system takes no filters";
  // The calls; the status of jm_create; and that the program's signals were blocked meanwhile, since old
  // kernels start anew at each.
  EXPECT_EQ(outcome, "4 calls, status 0, blocked 1");
}

// Without /proc a segment can't get its name, and can't be written to. The error says so, and nothing is left behind.
TEST(Share, WithoutProc) {
  const Name name, other;
  const Handle segment = create(name, 8);
  const pid_t child = fork();
  if (child == 0) {
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) _exit(99);
    jm_segment* before;
    if (jm_open(name.text(), 0, &before, nullptr) != JM_OK) _exit(1);
    if (umount2("/proc", MNT_DETACH) != 0) _exit(99);
    const int open_before = descriptors();
    jm_segment* made;
    int descriptor;
    if (jm_create(other.text(), 8, 0600, 0, &made) != JM_ERR_NO_PROC || made != nullptr) _exit(2);
    if (access(other.path().c_str(), F_OK) == 0) _exit(3);
    if (jm_fill(before, nullptr, 0, JM_UINT8, 1) != JM_ERR_NO_PROC) _exit(4);
    if (jm_descriptor(before, 0, &descriptor) != JM_ERR_NO_PROC) _exit(5);
    jm_tensor tensor;
    if (jm_try_read(before, &tensor) != JM_ERR_EMPTY) _exit(6);
    jm_list* list;
    if (jm_list_new(&list) != JM_OK) _exit(7);
    bool listed = false;
    while (const char* found = jm_list_next(list)) listed = listed || name.text() == std::string(found);
    jm_list_free(list);
    if (!listed) _exit(8);
    if (descriptors() != open_before) _exit(9);
    _exit(0);
  }
  int status;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == 99) GTEST_SKIP() << "taking /proc away needs root, and the right to mount";
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_EQ(write_byte(segment), JM_OK);
}

TEST(Share, DescriptorsThatCannotBe) {
  jm_segment* segment;
  const char* why = nullptr;
  EXPECT_EQ(jm_open_descriptor(-1, 0, &segment, &why), JM_ERR_SYSTEM);
  EXPECT_EQ(segment, nullptr);
  const File empty(memfd_create("empty", MFD_CLOEXEC));
  EXPECT_EQ(jm_open_descriptor(empty.get(), 0, &segment, &why), JM_ERR_CORRUPT);
  EXPECT_NE(why, nullptr);

  int descriptor;
  ASSERT_EQ(jm_new(8, 0, &segment), JM_OK);
  const Handle own(segment);
  EXPECT_EQ(jm_descriptor(own.get(), 1, &descriptor), JM_ERR_ARGUMENT);
  const Handle sealed = create_sealed(8);
  ASSERT_EQ(jm_retire(sealed.get()), JM_OK);
  EXPECT_EQ(jm_descriptor(sealed.get(), 1, &descriptor), JM_ERR_CLOSED);
}

TEST(Share, OneWriterAtATime) {
  const Name name;
  Handle a = create(name, 8);
  Handle b = open_name(name);
  const Handle watcher = again(a, JM_READ_ONLY);
  EXPECT_EQ(jm_writer_state(a.get()), JM_WRITER_NONE);
  EXPECT_EQ(jm_writer_state(b.get()), JM_WRITER_NONE);
  ASSERT_EQ(write_byte(a), JM_OK);
  EXPECT_EQ(jm_writer_state(a.get()), JM_WRITER_HERE);
  EXPECT_EQ(jm_writer_state(b.get()), JM_WRITER_OTHER);
  EXPECT_EQ(jm_writer_state(watcher.get()), JM_WRITER_OTHER);

  void* data;
  std::uint64_t length;
  EXPECT_EQ(write_byte(b), JM_ERR_WRITER_ACTIVE);
  EXPECT_EQ(jm_fill(b.get(), nullptr, 0, JM_UINT8, 1), JM_ERR_WRITER_ACTIVE);
  EXPECT_EQ(jm_begin(b.get(), nullptr, 0, JM_UINT8, &data, &length), JM_ERR_WRITER_ACTIVE);
  EXPECT_EQ(jm_version(b.get()), 2u);

  ASSERT_EQ(jm_retire(a.get()), JM_OK);
  EXPECT_EQ(jm_retire(a.get()), JM_OK);
  EXPECT_EQ(write_byte(a), JM_ERR_CLOSED);
  EXPECT_EQ(jm_writer_state(a.get()), JM_WRITER_NONE);
  EXPECT_EQ(jm_writer_state(b.get()), JM_WRITER_NONE);
  ASSERT_EQ(write_byte(b), JM_OK);
  EXPECT_EQ(jm_version(b.get()), 4u);
  EXPECT_EQ(jm_writer_state(b.get()), JM_WRITER_HERE);

  Handle c = open_name(name);
  EXPECT_EQ(write_byte(c), JM_ERR_WRITER_ACTIVE);
  b.reset();
  ASSERT_EQ(write_byte(c), JM_OK);
  EXPECT_EQ(jm_version(c.get()), 6u);
  EXPECT_EQ(jm_writer_state(watcher.get()), JM_WRITER_OTHER);
}

}  // namespace

#endif  // __linux__
