// The main function of all tests. A test makes a process by starting this program again with a role, so that the
// process has no locks, threads or descriptors of the test.

#include "helper.h"

#ifdef __linux__

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>

#include <cstdlib>
#include <ctime>

namespace {

using namespace helper;

// Makes a system call fail with an error, or raise SIGSYS (SECCOMP_RET_TRAP), in all threads and for good. Returns
// false if this system can't do that. With `mode` other than -1 it does so only if that is the call's second argument.
bool filter_call(unsigned call, unsigned answer, int mode = -1) {
  sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[1])),
      BPF_JUMP(BPF_JMP | (mode < 0 ? BPF_JGE : BPF_JEQ) | BPF_K, mode < 0 ? 0u : static_cast<unsigned>(mode), 0, 1),
      BPF_STMT(BPF_RET | BPF_K, answer),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog program = {sizeof filter / sizeof *filter, filter};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) == 0;
}

#ifdef __x86_64__
volatile int calls = 0;
volatile int blocked = 1;

// Replaces fallocate: three times it fails with EINTR, and then it makes the call, in a mode that the filter lets
// through.
void fallocate_instead(int, siginfo_t*, void* context) {
  auto* const registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  blocked = blocked != 0 && sigismember(&static_cast<ucontext_t*>(context)->uc_sigmask, SIGPROF) == 1;
  calls = calls + 1;
  if (calls <= 3) {
    registers[REG_RAX] = -EINTR;
    return;
  }
  const int result =
      fallocate(static_cast<int>(registers[REG_RDI]), FALLOC_FL_KEEP_SIZE, registers[REG_RDX], registers[REG_R10]);
  registers[REG_RAX] = result == 0 ? 0 : -errno;
}

int interrupted(const char* name) {
  struct sigaction action = {};
  action.sa_sigaction = fallocate_instead;
  action.sa_flags = SA_SIGINFO;
  if (sigaction(SIGSYS, &action, nullptr) != 0 || !filter_call(SYS_fallocate, SECCOMP_RET_TRAP, 0)) {
    std::puts("skip");
    return 0;
  }
  jm_segment* made;
  const jm_status status = jm_create(name, 8, 0600, 0, &made);
  std::printf("%d calls, status %d, blocked %d\n", calls, status, blocked);
  return 0;
}
#else
int interrupted(const char*) {
  std::puts("skip");
  return 0;
}
#endif

int one_word(const Handle& segment, int error) {
  if (!filter_call(449, SECCOMP_RET_ERRNO | static_cast<unsigned>(error))) {
    std::puts("skip");
    return 0;
  }
  jm_parker* parker;
  jm_watch *watch, *idle;
  int event;
  const Handle other = create_private(8);  // with a thread of its own
  if (jm_parker_new(&parker, &event) != JM_OK || jm_watch_new(parker, segment.get(), 1, &watch, nullptr) != JM_OK ||
      jm_watch_new(parker, other.get(), 2, &idle, nullptr) != JM_OK || jm_parker_threads(parker) != 2 ||
      jm_watch_arm(watch, 0) != JM_OK || jm_watch_arm(idle, 0) != JM_OK) {
    return 1;
  }
  const std::clock_t before = std::clock();
  std::this_thread::sleep_for(milliseconds(300));
  std::printf("%ld\n", static_cast<long>(std::clock() - before) * 1000 / CLOCKS_PER_SEC / 3);
  for (std::uint64_t seen = 0;;) {
    std::fflush(stdout);
    pollfd ready = {event, POLLIN, 0};
    std::uint64_t woken;
    if (poll(&ready, 1, -1) != 1 || read(event, &woken, sizeof woken) != sizeof woken) return 1;
    while (jm_parker_next(parker) != 0) {
    }
    seen = jm_version(segment.get());
    if (jm_watch_arm(watch, seen) != JM_OK) return 1;
    std::printf("%llu\n", static_cast<unsigned long long>(seen));
  }
}

// The roles.
//   idle NAME      commits one byte and stays
//   begin NAME     commits one byte, begins another commit and stays
//   write NAME N   commits tensors of N elements until killed
//   fork NAME      commits one byte, forks a child that lives on, prints its number, and stays
//   fork-close NAME  the same, and the child closes all descriptors that it has
//   fork-begin NAME  the same, in the middle of another commit, and the child reads, and prints how that ended
//   one-word NAME ERROR  answers futex_waitv with ERROR from here on, parks, prints what percentage of the processor
//                  that takes, and then each commit's version
//   interrupted NAME  creates a segment while reserving memory is interrupted three times, prints what became
//                  of it, and stays
//   park NAME      waits for commits until killed, and prints each one's version
//   stream-write NAME N  commits frames of N elements to a stream until killed, whenever nobody else writes
//   stream-read NAME N   reads frames until killed, and prints what is wrong with one
//   stream-join NAME     has a place in a stream, says so, and stays
//   stream-hold NAME N   the same with N frames that it holds
int stream_role(const std::string& role, const char* name, std::uint64_t n) {
  judemap::Stream stream;
  if (stream.open(name) != JM_OK) return 1;
  if (role == "stream-write") {
    for (;;) {
      const jm_status status = commit_frame(&stream, n);
      if (status == JM_ERR_WRITER_ACTIVE) {
        std::this_thread::sleep_for(milliseconds(1));
      } else if (status != JM_OK) {
        std::printf("%s\n", jm_strerror(status));
        return 1;
      }
    }
  }
  judemap::Reader reader;
  jm_tensor frame = {};
  if (reader.open(&stream) != JM_OK) return 1;
  if (role == "stream-read") {
    const std::string wrong = read_frames(&reader, n, [] { return false; });
    std::printf("%s\n", wrong.c_str());
    return 1;
  }
  for (std::uint64_t i = 0; i < n; ++i) {
    if (i == 0) std::puts("ready");
    std::fflush(stdout);
    if (reader.next(-1, &frame) != JM_OK) return 1;
    reader.keep(frame);
  }
  std::puts("ready");
  std::fflush(stdout);
  for (;;) pause();
}

int play(int count, char** arguments) {
  std::thread([] {
    char byte;
    while (read(0, &byte, 1) > 0) continue;
    _exit(0);
  }).detach();
  const std::string role = count > 0 ? arguments[0] : "";
  if (count < 2) return 2;
  if (role == "interrupted") return interrupted(arguments[1]);
  if (role.rfind("stream-", 0) == 0) {
    return stream_role(role, arguments[1], count < 3 ? 0 : std::strtoull(arguments[2], nullptr, 10));
  }
  const Handle segment = open_name(arguments[1]);
  if (role == "idle" || role == "begin") {
    if (write_byte(segment) != JM_OK) return 1;
    void* data;
    std::uint64_t length;
    if (role == "begin" && jm_begin(segment.get(), nullptr, 0, JM_UINT8, &data, &length) != JM_OK) return 1;
    std::puts("ready");
    std::fflush(stdout);
    for (;;) pause();
  }
  if (role.rfind("fork", 0) == 0) {
    void* data;
    std::uint64_t length;
    if (write_byte(segment) != JM_OK) return 1;
    if (role == "fork-begin" && jm_begin(segment.get(), nullptr, 0, JM_UINT8, &data, &length) != JM_OK) return 1;
    const pid_t child = fork();
    if (child == 0) {
      alarm(60);  // even if the test is gone
      if (role == "fork-begin") {
        jm_tensor tensor;
        std::printf("%d\n", jm_read(segment.get(), &tensor));
        std::fflush(stdout);
      }
      if (role == "fork-close") {
        for (int i = 0; i < 1024; ++i) close(i);
      }
      for (;;) pause();
    }
    if (role == "fork-close") std::this_thread::sleep_for(milliseconds(20));
    std::printf("%d\n", child);
    std::fflush(stdout);
    for (;;) pause();
  }
  if (role == "one-word" && count == 3) return one_word(segment, std::atoi(arguments[2]));
  if (role == "write" && count == 3) {
    const std::uint64_t n = std::strtoull(arguments[2], nullptr, 10);
    while (commit(segment, n) == JM_OK) continue;
    return 1;
  }
  if (role == "park") {
    jm_tensor tensor = {};
    while (jm_next(segment.get(), tensor.version, -1, &tensor) == JM_OK) {
      std::printf("%llu\n", static_cast<unsigned long long>(tensor.version));
      std::fflush(stdout);
    }
    return 1;
  }
  return 2;
}

}  // namespace

#endif  // __linux__

int main(int argc, char** argv) {
#ifdef __linux__
  if (argc > 1 && std::strcmp(argv[1], "--role") == 0) return play(argc - 2, argv + 2);
#endif
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
