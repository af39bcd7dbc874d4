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
