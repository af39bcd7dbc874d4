// What must hold of tensor.h, and what it costs. Prints lines for the figures.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "tensor.h"

namespace {

void must(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n", what);
  std::exit(1);
}

// Commits a frame of ones, and takes it.
judemap::Frame take(Source* source, const std::vector<std::uint64_t>& shape, std::uint32_t dtype) {
  judemap::Frame frame;
  must(source->stream.fill(shape.data(), static_cast<std::uint32_t>(shape.size()), dtype, 1, 0) == JM_OK,
       "there is a slot");
  must(source->reader.next(0, &frame) == JM_OK, "there is a frame");
  return frame;
}

void types(const std::shared_ptr<Source>& source) {
  const struct {
    std::uint32_t dtype;
    std::optional<torch::ScalarType> type;
  } cases[] = {{JM_FLOAT32, torch::kFloat32},
               {JM_FLOAT64, torch::kFloat64},
               {JM_INT32, torch::kInt32},
               {JM_INT64, torch::kInt64},
               {JM_UINT8, torch::kUInt8},
               {JM_INT8, torch::kInt8},
               {JM_UINT16, {}},
               {JM_INT16, torch::kInt16},
               {JM_BOOL, torch::kBool},
               {JM_FLOAT16, torch::kFloat16},
               {JM_BFLOAT16, torch::kBFloat16},
               {JM_UINT32, {}},
               {JM_UINT64, {}},
               {JM_FLOAT8_E4M3FN, {}},
               {JM_FLOAT8_E5M2, {}},
               {JM_COMPLEX64, torch::kComplexFloat}};
  for (const auto& c : cases) {
    const char* name = jm_dtype_name(c.dtype);
    judemap::Frame frame = take(source.get(), {2, 3}, c.dtype);
    const jm_tensor from = *frame;
    const std::optional<torch::Tensor> tensor = tensor_of(&frame, source);
    must(tensor.has_value() == c.type.has_value(), name);
    must(static_cast<bool>(frame) != tensor.has_value(), "the frame is the tensor's, or stays the caller's");
    if (!tensor) continue;
    must(tensor->scalar_type() == *c.type && tensor->sizes() == torch::IntArrayRef({2, 3}), name);
    must(tensor->data_ptr() == from.data && tensor->nbytes() == from.byte_length, "the pointer is kept");
    must(torch::equal(*tensor, torch::ones({2, 3}, *c.type)), "the values are the frame's");
    // What is written to the slot shows in the tensor.
    std::memset(const_cast<void*>(from.data), 0, from.byte_length);
    must(torch::equal(*tensor, torch::zeros({2, 3}, *c.type)), "a store shows");
  }
  judemap::Frame scalar = take(source.get(), {}, JM_INT64);
  must(tensor_of(&scalar, source)->item<std::int64_t>() == 1, "a tensor of rank 0");
  judemap::Frame none = take(source.get(), {0, 3}, JM_INT64);
  must(tensor_of(&none, source)->numel() == 0, "a tensor without elements");
}

// A frame is held until the last tensor over it is gone, and the source until then.
void lives() {
  auto source = std::make_shared<Source>();
  must(source->stream.create(2, 1024) == JM_OK && source->reader.open(&source->stream) == JM_OK, "there is a stream");
  judemap::Frame frame = take(source.get(), {4, 4}, JM_FLOAT32);
  torch::Tensor row;
  {
    const torch::Tensor tensor = *tensor_of(&frame, source);
    row = tensor[1];
  }
  const auto free = [&] { return source->stream.fill(nullptr, 0, JM_UINT8, 0, 0) == JM_OK; };
  must(free() && !free(), "a view holds the slot");
  must(row.sum().item<float>() == 4, "and sees the frame");
  std::thread([&row] { row = torch::Tensor(); }).join();
  must(free(), "the slot was given back by another thread");

  frame = take(source.get(), {4, 4}, JM_FLOAT32);
  const std::weak_ptr<Source> gone = source;
  torch::Tensor last = *tensor_of(&frame, std::move(source));
  must(!gone.expired() && last.sum().item<float>() == 16, "the stream lives as long as a tensor does");
  last = torch::Tensor();
  must(gone.expired(), "and no longer");
}

// A result goes where it is read, if it has the right shape and type.
void results(const std::shared_ptr<Source>& source) {
  const std::uint64_t shape[] = {2, 3};
  void* data;
  std::uint64_t length;
  must(source->stream.begin(shape, 2, JM_FLOAT32, &data, &length, 0) == JM_OK, "there is a slot");
  torch::Tensor out = tensor_over(data, shape, 2, JM_FLOAT32);
  torch::add_out(out, torch::ones({2, 3}), torch::full({2, 3}, 41.0f));
  must(out.data_ptr() == data && static_cast<float*>(data)[5] == 42, "LibTorch wrote to the slot");
  must(source->stream.commit() == JM_OK, "the frame is committed");
  judemap::Frame frame;
  must(source->reader.next(0, &frame) == JM_OK && frame->data == data, "and is there, where it was written");
}

// The median, the least and the greatest of nine runs, in microseconds for a call.
template <class Call>
void measure(const char* what, int calls, Call&& call) {
  std::vector<double> times;
  for (int run = 0; run < 9; ++run) {
    const auto begun = std::chrono::steady_clock::now();
    for (int i = 0; i < calls; ++i) call();
    times.push_back(std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begun).count() /
                    calls);
  }
  std::sort(times.begin(), times.end());
  std::printf("%s: %.3g us [%.3g %.3g]\n", what, times[4], times[0], times[8]);
}

void figures(const std::shared_ptr<Source>& source) {
  torch::set_num_threads(1);
  for (const std::uint64_t mib : {1u, 8u}) {
    char text[80];
    const std::uint64_t length = mib << 18;  // floats
    judemap::Frame frame = take(source.get(), {length}, JM_FLOAT32);
    void* const data = const_cast<void*>(frame->data);
    std::snprintf(text, sizeof text, "a torch::Tensor over a frame of %d MiB", static_cast<int>(mib));
    measure(text, 1000, [&] { tensor_over(data, frame->shape, 1, JM_FLOAT32); });
    const torch::Tensor tensor = *tensor_of(&frame, source);
    std::snprintf(text, sizeof text, "clone() of it");
    measure(text, 20, [&] { tensor.clone(); });
  }
}

}  // namespace

int main() {
  const auto source = std::make_shared<Source>();
  must(source->stream.create(4, 8 << 20) == JM_OK && source->reader.open(&source->stream) == JM_OK,
       "there is a stream");
  types(source);
  lives();
  results(source);
  figures(source);
  return 0;
}
