// How many frames a second the protocol of a stream can carry from one process to another, without anything around it:
// no library, no deaths, one reader, everything inline. The limit that BenchmarkFrames of the Go package stands beside.
//
//   floor_frames SIZE WAIT FRAMES
//
// The writer fills each frame with the low byte of its number, in place, and the reader, a second process, checks the
// number and sums every byte. Every frame counts, and there are 4 slots. With WAIT `blocking` who has nothing to do
// parks in the kernel at once; with `spinning` after 10 us; with `polling` never. It prints a line of a Go benchmark.
// A tenth of the frames come before those that are measured; ns/op is from the end of that tenth's last sum to the end
// of the last one, by the reader's clock.

#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>

namespace {

constexpr unsigned kSlots = 4;
constexpr std::size_t kPage = 4096;  // a slot's own words have the first of its pages

using Word = std::atomic<std::uint32_t>;

// A line of its own for each word that one side writes while the other works.
struct alignas(64) Header {
  alignas(64) std::atomic<std::uint64_t> sequence{0};  // 2 * newest frame; the reader parks on its low half
  Word table[kSlots] = {};                             // the slot of frame n is at n % kSlots
  alignas(64) std::atomic<std::uint64_t> cursor{1};    // number of the frame that the reader wants next
  alignas(64) Word waiters{0};                         // 1: the reader is parked, or about to be
  alignas(64) Word writer_waits{0};                    // 1: the writer is
  Word released{0};                                    // the writer parks on it
  alignas(64) std::atomic<std::int64_t> elapsed{0};    // ns; the reader's result
};

struct Slot {
  alignas(64) std::atomic<std::uint64_t> sequence;  // odd: the writer is in it
  alignas(64) std::atomic<std::uint64_t> pins;      // bit 0: the reader has it
};

struct Shared {
  Header* header;
  unsigned char* slots;
  std::size_t size;    // bytes of a frame
  std::size_t stride;  // from a slot to the next
  std::int64_t spin;   // ns before parking
  Slot& slot(std::uint32_t i) const { return *reinterpret_cast<Slot*>(slots + i * stride); }
  unsigned char* data(std::uint32_t i) const { return slots + i * stride + kPage; }
};

std::int64_t now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

void pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("isb");
#endif
}

template <class Over>
bool spin(std::int64_t nanoseconds, Over&& over) {
  if (nanoseconds == 0) return false;
  for (const std::int64_t begun = now(); now() - begun < nanoseconds;) {
    for (int i = 0; i < 16; ++i) {
      if (over()) return true;
      pause();
    }
  }
  return false;
}

void park(void* word, std::uint32_t seen) { syscall(SYS_futex, word, FUTEX_WAIT, seen, nullptr, nullptr, 0); }
void wake(void* word) { syscall(SYS_futex, word, FUTEX_WAKE, 1, nullptr, nullptr, 0); }

// The loads and stores without an order named are sequentially consistent: of what one side stores and then looks at,
// and the other stores and looks at the other way round, one of the two sees the other's.

class Writer {
 public:
  explicit Writer(const Shared& shared) : shared_(shared) {}

  void write(std::uint64_t frame) {
    Header& header = *shared_.header;
    int found = choose();
    const auto over = [&] { return (found = choose()) >= 0; };
    if (found < 0) spin(shared_.spin, over);
    while (found < 0) {
      const std::uint32_t seen = header.released.load();
      header.writer_waits.store(1);
      if (over()) {
        header.writer_waits.store(0);
        break;
      }
      park(&header.released, seen);
      over();
    }
    const auto index = static_cast<std::uint32_t>(found);
    std::memset(shared_.data(index), static_cast<int>(frame & 0xff), shared_.size);
    frames_[index] = newest_ = frame;
    shared_.slot(index).sequence.store(2 * frame, std::memory_order_release);
    header.table[frame % kSlots].store(index, std::memory_order_relaxed);
    header.sequence.store(2 * frame);
    if (header.waiters.load() != 0 && header.waiters.exchange(0) != 0) wake(&header.sequence);
  }

 private:
  // A slot that the reader has gone past and doesn't hold, the one written last first: it is still in the caches.
  int choose() {
    const std::uint64_t wanted = shared_.header->cursor.load();
    int best = -1;
    for (std::uint32_t i = 0; i < kSlots; ++i) {
      if (frames_[i] != 0 && (frames_[i] == newest_ || frames_[i] >= wanted)) continue;
      if (best >= 0 && frames_[i] <= frames_[best]) continue;
      if (shared_.slot(i).pins.load() == 0) best = static_cast<int>(i);
    }
    if (best < 0) return -1;
    Slot& slot = shared_.slot(static_cast<std::uint32_t>(best));
    slot.sequence.store(2 * frames_[best] | 1, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (slot.pins.load() == 0) return best;
    slot.sequence.store(2 * frames_[best], std::memory_order_release);
    return -1;
  }

  const Shared& shared_;
  std::uint64_t frames_[kSlots] = {};
  std::uint64_t newest_ = 0;
};

// Eight bytes at a time, in eight sums that don't wait for each other.
std::uint64_t sum(const unsigned char* data, std::size_t size) {
  const auto* words = reinterpret_cast<const std::uint64_t*>(data);
  std::uint64_t sums[8] = {};
  for (std::size_t i = 0; i < size / 8; i += 8) {
    for (std::size_t k = 0; k < 8; ++k) sums[k] += words[i + k];
  }
  return sums[0] + sums[1] + sums[2] + sums[3] + sums[4] + sums[5] + sums[6] + sums[7];
}

// Takes all frames. False: one was wrong.
bool read(const Shared& shared, std::uint64_t frames) {
  Header& header = *shared.header;
  std::int64_t begun = 0;
  const auto given_back = [&] {
    if (header.writer_waits.load() == 0 || header.writer_waits.exchange(0) == 0) return;
    header.released.fetch_add(1);
    wake(&header.released);
  };
  for (std::uint64_t frame = 1; frame <= frames; ++frame) {
    const auto there = [&] { return header.sequence.load() / 2 >= frame; };
    if (!there()) spin(shared.spin, there);
    while (!there()) {
      const auto seen = static_cast<std::uint32_t>(header.sequence.load());
      header.waiters.store(1);
      if (!there()) park(&header.sequence, seen);
      header.waiters.store(0);
    }
    const std::uint32_t index = header.table[frame % kSlots].load(std::memory_order_relaxed);
    Slot& slot = shared.slot(index);
    slot.pins.fetch_or(1);
    if (slot.sequence.load() != 2 * frame) return false;
    header.cursor.store(frame + 1, std::memory_order_release);
    if (sum(shared.data(index), shared.size) != (frame & 0xff) * 0x0101010101010101 * (shared.size / 8)) return false;
    slot.pins.fetch_and(~std::uint64_t{1});
    given_back();
    if (frame == frames / 10) begun = now();
  }
  header.elapsed.store(now() - begun);
  return true;
}

int fail(const char* what) {
  std::fprintf(stderr, "floor_frames: %s\n", what);
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return fail("usage: floor_frames SIZE blocking|spinning|polling FRAMES");
  Shared shared = {};
  shared.size = std::strtoull(argv[1], nullptr, 10);
  const char* const how = argv[2];
  const std::uint64_t frames = std::strtoull(argv[3], nullptr, 10);
  if (shared.size == 0 || shared.size % 64 != 0 || frames < 10)
    return fail("SIZE is a multiple of 64, and FRAMES 10 or more");
  if (std::strcmp(how, "spinning") == 0) {
    shared.spin = 10'000;
  } else if (std::strcmp(how, "polling") == 0) {
    shared.spin = std::numeric_limits<std::int64_t>::max();
  } else if (std::strcmp(how, "blocking") != 0) {
    return fail("WAIT is blocking, spinning or polling");
  }

  shared.stride = kPage + (shared.size + kPage - 1) / kPage * kPage;
  const std::size_t bytes = kPage + kSlots * shared.stride;
  const int file = memfd_create("floor_frames", MFD_CLOEXEC);
  if (file < 0 || ftruncate(file, static_cast<off_t>(bytes)) != 0) return fail("no memory");
  const auto map = [&] {
    void* const base = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (base == MAP_FAILED) std::exit(fail("no memory"));
    shared.header = static_cast<Header*>(base);
    shared.slots = static_cast<unsigned char*>(base) + kPage;
  };
  map();
  new (shared.header) Header;
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child < 0) return fail("no process");
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    map();
    if (read(shared, frames)) _exit(0);
    fail("a frame was not the one it should be");
    _exit(1);
  }
  // A reader that ends early would leave the writer waiting, and so ends this process too.
  struct sigaction action = {};
  action.sa_flags = SA_SIGINFO | SA_RESTART;
  action.sa_sigaction = [](int, siginfo_t* info, void*) {
    if (info->si_status != 0) _exit(1);
  };
  sigaction(SIGCHLD, &action, nullptr);
  Writer writer(shared);
  for (std::uint64_t frame = 1; frame <= frames; ++frame) writer.write(frame);
  if (waitpid(child, nullptr, 0) != child) return fail("the reader is lost");
  const double each = static_cast<double>(shared.header->elapsed.load()) / static_cast<double>(frames - frames / 10);
  std::printf("BenchmarkFrames/size=%zu/wait=%s/by=floor %llu %.1f ns/op %.0f frames/s\n", shared.size, how,
              static_cast<unsigned long long>(frames), each, 1e9 / each);
}
