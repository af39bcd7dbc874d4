// The main function of all tests. Processes are made by starting the binary anew with a role, so that none inherits
// locks, threads or descriptors of the test.

#include "helper.h"

#ifdef __linux__

#include <cstdlib>

namespace {

using namespace helper;

// The roles.
//   idle NAME      commits one byte and stays
//   begin NAME     commits one byte, begins another commit and stays
//   write NAME N   commits tensors of N elements until killed
//   fork NAME      commits one byte, forks a child that lives on, prints its number, and stays
//   fork-close NAME  the same, and the child closes all descriptors that it has
//   fork-begin NAME  the same, in the middle of another commit, and the child reads, and prints how that ended
//   park NAME      waits for commits until killed, and prints each one's version
int play(int count, char** arguments) {
  std::thread([] {
    char byte;
    while (read(0, &byte, 1) > 0) continue;
    _exit(0);
  }).detach();
  const std::string role = count > 0 ? arguments[0] : "";
  if (count < 2) return 2;
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
      alarm(60);  // whatever becomes of the test
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
