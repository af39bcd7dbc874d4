// Registration with the CUDA driver, for which test/cuda_driver.c stands in: ctest puts it into LD_LIBRARY_PATH. What
// the driver's calls were, and what there is after each, the stand-in writes into a file. Linux.

#include "helper.h"

#ifdef __linux__

#include <dlfcn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace helper;

constexpr std::uint64_t kShift = std::uint64_t{1} << (sizeof(void*) == 8 ? 46 : 30);  // as in the stand-in

std::uint64_t seen_by_device(const void* at) {
  return static_cast<std::uintptr_t>(reinterpret_cast<std::uintptr_t>(at) + kShift);
}

bool mapped(const void* at, std::size_t bytes) {
  std::vector<unsigned char> pages(bytes / static_cast<std::size_t>(getpagesize()) + 1);
  return mincore(const_cast<void*>(at), bytes, pages.data()) == 0;
}

class Cuda : public testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/tmp/judemap-cuda-XXXXXX";
    const int file = mkstemp(path);
    ASSERT_GE(file, 0);
    close(file);
    path_ = path;
    setenv("JUDEMAP_CUDA_LOG", path, 1);
    unsetenv("JUDEMAP_CUDA_FAIL");
    // A machine with a GPU has another libcuda.so.1.
    const Handle segment = create_private(8);
    char why[256] = "";
    ASSERT_EQ(jm_register_cuda(segment.get(), 0, why, sizeof why), JM_OK)
        << why << ": the folder of the stand-in for the CUDA driver belongs into LD_LIBRARY_PATH, where ctest puts it";
    ASSERT_EQ(jm_unregister_cuda(segment.get(), why, sizeof why), JM_OK);
    ASSERT_EQ(calls().size(), 11u);
  }
  void TearDown() override { unlink(path_.c_str()); }

  // The calls since it was last asked.
  std::vector<std::string> calls() {
    std::ifstream in(path_);
    in.seekg(seen_);
    std::vector<std::string> lines;
    for (std::string line; std::getline(in, line);) {
      seen_ += static_cast<std::streamoff>(line.size()) + 1;
      lines.push_back(line.substr(0, line.find_last_not_of(' ') + 1));
    }
    return lines;
  }

  // The last of them; empty if there is none.
  std::string last() {
    const std::vector<std::string> lines = calls();
    return lines.empty() ? "" : lines.back();
  }

  static void fail(const std::string& call) { setenv("JUDEMAP_CUDA_FAIL", call.c_str(), 1); }
  static void succeed() { unsetenv("JUDEMAP_CUDA_FAIL"); }

 private:
  std::string path_;
  std::streamoff seen_ = 0;
};

using Lines = std::vector<std::string>;

const Lines kUnregistered = {
    "cuCtxPushCurrent_v2 0 contexts=1 ranges=1 current=1",
    "cuMemHostUnregister 0 contexts=1 ranges=0 current=1 mapped=1 word=2",
    "cuCtxPopCurrent_v2 0 contexts=1 ranges=0 current=0",
    "cuDevicePrimaryCtxRelease_v2 0 contexts=0 ranges=0 current=0 device=1",
};

TEST_F(Cuda, Segment) {
  judemap::Segment segment;
  char why[256] = "";
  ASSERT_EQ(segment.create(100), JM_OK);
  ASSERT_EQ(segment.fill(nullptr, 0, JM_UINT8, 1), JM_OK);
  EXPECT_EQ(segment.device_address(segment.header()), 0u);
  EXPECT_EQ(segment.unregister_cuda(), JM_OK);
  ASSERT_EQ(segment.register_cuda(1), JM_OK);
  const std::string bytes = std::to_string(getpagesize());
  const Lines registered = {
      "cuInit 0 contexts=0 ranges=0 current=0",
      "cuDeviceGet 0 contexts=0 ranges=0 current=0 device=1",
      "cuDevicePrimaryCtxRetain 0 contexts=1 ranges=0 current=0 device=1",
      "cuCtxPushCurrent_v2 0 contexts=1 ranges=0 current=1",
      "cuMemHostRegister_v2 0 contexts=1 ranges=1 current=1 bytes=" + bytes + " flags=3",
      "cuMemHostGetDevicePointer_v2 0 contexts=1 ranges=1 current=1",
      "cuCtxPopCurrent_v2 0 contexts=1 ranges=1 current=0",
  };
  EXPECT_EQ(calls(), registered);
  EXPECT_EQ(segment.register_cuda(1), JM_OK);
  EXPECT_EQ(segment.register_cuda(0, why, sizeof why), JM_ERR_ARGUMENT);
  EXPECT_EQ(std::string(why), "it is registered, with device 1");
  EXPECT_EQ(segment.register_cuda(0), JM_ERR_ARGUMENT);
  jm_tensor tensor;
  ASSERT_EQ(segment.read(&tensor), JM_OK);
  EXPECT_EQ(segment.device_address(tensor.data), seen_by_device(tensor.data));
  const char* const begin = reinterpret_cast<const char*>(segment.header());
  EXPECT_EQ(segment.device_address(begin - 1), 0u);
  EXPECT_EQ(segment.device_address(begin + getpagesize()), 0u);
  EXPECT_EQ(segment.unregister_cuda(), JM_OK);
  EXPECT_EQ(segment.device_address(tensor.data), 0u);
  EXPECT_EQ(segment.unregister_cuda(), JM_OK);
  EXPECT_EQ(calls(), kUnregistered);

  ASSERT_EQ(segment.register_cuda(1), JM_OK);
  EXPECT_EQ(calls(), registered);
  EXPECT_EQ(segment.retire(), JM_OK);
  EXPECT_EQ(calls(), kUnregistered);  // the word is the version: the memory is still there
  EXPECT_EQ(segment.device_address(tensor.data), 0u);
  EXPECT_EQ(segment.register_cuda(1), JM_ERR_CLOSED);
  EXPECT_EQ(segment.unregister_cuda(), JM_OK);
  EXPECT_EQ(segment.retire(), JM_OK);
  EXPECT_EQ(calls(), Lines());
}

TEST_F(Cuda, Stream) {
  judemap::Stream stream;
  ASSERT_EQ(stream.create(3, 10000), JM_OK);
  ASSERT_EQ(stream.fill(nullptr, 0, JM_UINT8, 1), JM_OK);
  ASSERT_EQ(stream.register_cuda(1), JM_OK);
  {
    judemap::Reader reader;
    ASSERT_EQ(reader.open(&stream), JM_OK);
    for (int i = 0; i < 3; ++i) {
      ASSERT_EQ(stream.fill(nullptr, 0, JM_UINT8, 1), JM_OK);
      jm_tensor frame;
      ASSERT_EQ(reader.next(-1, &frame), JM_OK);
      EXPECT_EQ(stream.device_address(frame.data), seen_by_device(frame.data));
    }
  }
  const char* const last_byte = reinterpret_cast<const char*>(stream.protocol().slot(2)) + JM_DATA_OFFSET + 9999;
  EXPECT_EQ(stream.device_address(last_byte), seen_by_device(last_byte));
  EXPECT_EQ(stream.unregister_cuda(), JM_OK);
  EXPECT_EQ(stream.device_address(last_byte), 0u);
  ASSERT_EQ(stream.register_cuda(1), JM_OK);
  calls();
  EXPECT_EQ(stream.retire(), JM_OK);
  Lines unregistered = kUnregistered;
  unregistered[1] = "cuMemHostUnregister 0 contexts=1 ranges=0 current=1 mapped=1 word=8";
  EXPECT_EQ(calls(), unregistered);
}

// jm_free is enough, and so is what Go calls.
TEST_F(Cuda, TheEndUnregisters) {
  const struct {
    const char* name;
    void (*end)(jm_segment* segment);
  } ends[] = {
      {"free", [](jm_segment*) {}},
      {"retire", [](jm_segment* s) { EXPECT_EQ(jm_retire(s), JM_OK); }},
      {"protocol",
       [](jm_segment* s) {
         jm_protocol_close(s);
         EXPECT_EQ(jm_mapping_register_cuda(jm_segment_mapping(s), 1, nullptr, 0), JM_ERR_CLOSED);
         EXPECT_EQ(jm_mapping_retire(jm_segment_mapping(s)), JM_OK);
       }},
  };
  for (const auto& end : ends) {
    SCOPED_TRACE(end.name);
    Handle segment = create_private(8);
    ASSERT_EQ(write_byte(segment), JM_OK);
    ASSERT_EQ(jm_register_cuda(segment.get(), 1, nullptr, 0), JM_OK);
    calls();
    end.end(segment.get());
    segment.reset();
    EXPECT_EQ(calls(), kUnregistered);
  }
}

TEST_F(Cuda, WhatFailsIsUndone) {
  const Name name;
  const Handle segment = create(name, 8), read_only = open_name(name, JM_READ_ONLY);
  const struct {
    const char* fail;
    jm_status status;
    const char* why;
    const char* after = " contexts=0 ranges=0 current=0";
  } steps[] = {
      {"cuInit=100", JM_ERR_UNSUPPORTED, "CUDA_ERROR_NO_DEVICE (100) from cuInit"},
      {"cuInit=34", JM_ERR_UNSUPPORTED, "CUDA_ERROR_STUB_LIBRARY (34) from cuInit"},
      {"cuInit=999", JM_ERR_CUDA, "CUDA_ERROR_UNKNOWN (999) from cuInit"},
      {"cuDeviceGet=101", JM_ERR_CUDA, "CUDA_ERROR_INVALID_DEVICE (101) from cuDeviceGet"},
      {"cuDeviceGetAttribute=3", JM_ERR_CUDA, "CUDA_ERROR_NOT_INITIALIZED (3) from cuDeviceGetAttribute"},
      {"cuDevicePrimaryCtxRetain=2", JM_ERR_CUDA, "CUDA_ERROR_OUT_OF_MEMORY (2) from cuDevicePrimaryCtxRetain"},
      {"cuCtxPushCurrent_v2=201", JM_ERR_CUDA, "CUDA_ERROR_INVALID_CONTEXT (201) from cuCtxPushCurrent_v2"},
      {"cuMemHostRegister_v2=712", JM_ERR_CUDA,
       "CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED (712) from cuMemHostRegister_v2"},
      {"cuMemHostGetDevicePointer_v2=1", JM_ERR_CUDA, "CUDA_ERROR_INVALID_VALUE (1) from cuMemHostGetDevicePointer_v2"},
      // That context can't be undone: it is the thread's still.
      {"cuCtxPopCurrent_v2=719", JM_ERR_CUDA, "CUDA_ERROR_LAUNCH_FAILED (719) from cuCtxPopCurrent_v2",
       " contexts=0 ranges=0 current=1"},
  };
  for (const auto& step : steps) {
    SCOPED_TRACE(step.fail);
    std::thread([&] {  // with contexts of its own
      char why[256] = "";
      fail(step.fail);
      EXPECT_EQ(jm_register_cuda(read_only.get(), 0, why, sizeof why), step.status);
      EXPECT_EQ(std::string(why), step.why);
      EXPECT_NE(last().find(step.after), std::string::npos);
      EXPECT_EQ(jm_register_cuda(read_only.get(), 0, nullptr, 0), step.status);
      EXPECT_EQ(jm_register_cuda(read_only.get(), 0, why, 5), step.status);
      EXPECT_EQ(std::string(why), "CUDA");
      EXPECT_EQ(jm_device_address(read_only.get(), jm_base(read_only.get())), 0u);
      succeed();
    })
        .join();
  }
  EXPECT_EQ(jm_register_cuda(read_only.get(), 0, nullptr, 0), JM_OK);
  EXPECT_NE(calls()[5].find(" flags=11"), std::string::npos);
  EXPECT_EQ(jm_register_cuda(segment.get(), 1, nullptr, 0), JM_OK);  // the same memory at other addresses

  const Handle other = open_name(name, JM_READ_ONLY);
  setenv("JUDEMAP_CUDA_READ_ONLY", "0", 1);
  EXPECT_EQ(jm_register_cuda(other.get(), 0, nullptr, 0), JM_ERR_UNSUPPORTED);
  unsetenv("JUDEMAP_CUDA_READ_ONLY");
}

// A thread that has a context keeps it.
TEST_F(Cuda, TheThreadsContextStays) {
  void* const driver = dlopen("libcuda.so.1", RTLD_NOW);
  ASSERT_NE(driver, nullptr);
  const auto function = [&](const char* name) { return dlsym(driver, name); };
  int device;
  void* context = nullptr;
  void* popped = nullptr;
  ASSERT_EQ(reinterpret_cast<int (*)(int*, int)>(function("cuDeviceGet"))(&device, 1), 0);
  ASSERT_EQ(reinterpret_cast<int (*)(void**, int)>(function("cuDevicePrimaryCtxRetain"))(&context, device), 0);
  ASSERT_EQ(reinterpret_cast<int (*)(void*)>(function("cuCtxPushCurrent_v2"))(context), 0);
  const Handle segment = create_private(8);
  EXPECT_EQ(jm_register_cuda(segment.get(), 0, nullptr, 0), JM_OK);
  EXPECT_NE(last().find("contexts=2 ranges=1 current=1"), std::string::npos);
  EXPECT_EQ(jm_unregister_cuda(segment.get(), nullptr, 0), JM_OK);
  for (const char* call : {"cuMemHostRegister_v2=2", "cuMemHostGetDevicePointer_v2=2"}) {
    fail(call);
    EXPECT_EQ(jm_register_cuda(segment.get(), 0, nullptr, 0), JM_ERR_CUDA);
  }
  succeed();
  EXPECT_NE(last().find("contexts=1 ranges=0 current=1"), std::string::npos);
  ASSERT_EQ(reinterpret_cast<int (*)(void**)>(function("cuCtxPopCurrent_v2"))(&popped), 0);
  EXPECT_EQ(popped, context);
  ASSERT_EQ(reinterpret_cast<int (*)(int)>(function("cuDevicePrimaryCtxRelease_v2"))(device), 0);
  dlclose(driver);
}

// A driver that does not let go: it would take what comes to these addresses for registered.
TEST_F(Cuda, AddressesThatTheDriverKeepsStayTaken) {
  const std::size_t size = 3 * static_cast<std::size_t>(getpagesize());
  for (const char* call : {"cuCtxPushCurrent_v2=201", "cuMemHostUnregister=719"}) {
    for (const bool retire : {false, true}) {
      SCOPED_TRACE(std::string(call) + (retire ? ", retired" : ""));
      Handle segment = create_private(size - JM_DATA_OFFSET);
      ASSERT_EQ(write_byte(segment), JM_OK);
      const volatile char* const data = reinterpret_cast<const char*>(jm_base(segment.get())) + JM_DATA_OFFSET;
      const void* const base = jm_base(segment.get());
      ASSERT_EQ(jm_register_cuda(segment.get(), 0, nullptr, 0), JM_OK);
      EXPECT_EQ(*data, 1);
      fail(call);
      char why[256] = "";
      EXPECT_EQ(jm_unregister_cuda(segment.get(), why, sizeof why), JM_ERR_CUDA);
      EXPECT_NE(std::string(why).find(std::string(" from ") + std::string(call, std::strchr(call, '='))),
                std::string::npos)
          << why;
      EXPECT_NE(jm_device_address(segment.get(), base), 0u);
      if (retire) {
        EXPECT_EQ(jm_retire(segment.get()), JM_ERR_SYSTEM);
        EXPECT_EQ(errno, EBUSY);
        EXPECT_EQ(*data, 0);  // the memory went
        EXPECT_EQ(jm_retire(segment.get()), JM_OK);
      }
      segment.reset();
      succeed();
      ASSERT_TRUE(mapped(base, size));
      EXPECT_EQ(*data, 0);
    }
  }
  // What the driver says that it does not have is not kept for it.
  for (const char* call : {"cuCtxPushCurrent_v2=4", "cuCtxPushCurrent_v2=709", "cuMemHostUnregister=713"}) {
    SCOPED_TRACE(call);
    Handle segment = create_private(size - JM_DATA_OFFSET);
    const void* const base = jm_base(segment.get());
    ASSERT_EQ(jm_register_cuda(segment.get(), 0, nullptr, 0), JM_OK);
    fail(call);
    EXPECT_EQ(jm_retire(segment.get()), JM_OK);
    segment.reset();
    succeed();
    EXPECT_FALSE(mapped(base, size));
    // The stand-in has the range still, and would refuse another there.
    EXPECT_EQ(mmap(const_cast<void*>(base), size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), base);
  }
}

// The driver has the parent's memory: a child that is forked leaves that as it is.
TEST_F(Cuda, AForkedChildLeavesItAlone) {
  judemap::Stream stream;
  ASSERT_EQ(stream.create(2, 8), JM_OK);
  Handle segment = create_private(8);
  ASSERT_EQ(write_byte(segment), JM_OK);
  ASSERT_EQ(jm_register_cuda(segment.get(), 1, nullptr, 0), JM_OK);
  ASSERT_EQ(stream.register_cuda(1), JM_OK);
  calls();
  const pid_t child = fork();
  if (child == 0) {
    jm_segment* const s = segment.release();
    const void* const base = jm_base(s);
    int wrong = 0;
    wrong += jm_register_cuda(s, 1, nullptr, 0) != JM_ERR_FORKED;
    wrong += jm_unregister_cuda(s, nullptr, 0) != JM_ERR_FORKED;
    wrong += jm_mapping_register_cuda(jm_segment_mapping(s), 1, nullptr, 0) != JM_ERR_FORKED;
    wrong += jm_mapping_unregister_cuda(jm_segment_mapping(s), nullptr, 0) != JM_ERR_FORKED;
    wrong += stream.register_cuda(1) != JM_ERR_FORKED || stream.unregister_cuda() != JM_ERR_FORKED;
    wrong += jm_device_address(s, base) != 0 || stream.device_address(stream.protocol().header()) != 0;
    wrong += jm_retire(s) != JM_OK || stream.retire() != JM_OK;
    jm_free(s);
    wrong += mapped(base, 1);
    _exit(wrong);
  }
  int status = 0;
  ASSERT_TRUE(eventually([&] { return waitpid(child, &status, WNOHANG) == child; }));
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  EXPECT_EQ(calls(), Lines());
  EXPECT_EQ(jm_device_address(segment.get(), jm_base(segment.get())), seen_by_device(jm_base(segment.get())));
  EXPECT_EQ(stream.retire(), JM_OK);
  calls();
  segment.reset();
  EXPECT_EQ(calls(), kUnregistered);
}

// Threads register and unregister what other threads end.
TEST_F(Cuda, BesideTheEnd) {
  for (int round = 0; round < 100; ++round) {
    judemap::Segment segment;
    judemap::Stream stream;
    ASSERT_EQ(segment.create(100), JM_OK);
    ASSERT_EQ(stream.create(2, 100), JM_OK);
    std::atomic<bool> start{false};
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&, i] {
        while (!start) std::this_thread::yield();
        for (jm_status status = JM_OK; status != JM_ERR_CLOSED;) {
          status = i % 2 == 0 ? segment.register_cuda(0) : stream.register_cuda(0);
          if (status != JM_OK && status != JM_ERR_CLOSED) ADD_FAILURE() << jm_strerror(status);
          segment.device_address(segment.header());
          if (i < 2) {
            EXPECT_EQ(i % 2 == 0 ? segment.unregister_cuda() : stream.unregister_cuda(), JM_OK);
          }
        }
      });
    }
    start = true;
    if (round % 2 == 0) std::this_thread::sleep_for(std::chrono::microseconds(200));
    EXPECT_EQ(segment.retire(), JM_OK);
    EXPECT_EQ(stream.retire(), JM_OK);
    for (std::thread& thread : threads) thread.join();
  }
  const Lines lines = calls();
  ASSERT_FALSE(lines.empty());
  EXPECT_NE(lines.back().find("contexts=0 ranges=0 current=0"), std::string::npos) << lines.back();
  for (const std::string& line : lines) {
    EXPECT_TRUE(line.rfind("cuMemHostUnregister ", 0) != 0 || line.find("mapped=1") != std::string::npos) << line;
  }
}

}  // namespace

#endif  // __linux__
