// What must hold of mat.h, and what it costs. Prints lines for the figures.
#include <judemap/stream.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <opencv2/core.hpp>
#include <vector>

#include "mat.h"

namespace {

void must(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n", what);
  std::exit(1);
}

// Commits a frame of zeros, and takes it.
judemap::Frame take(judemap::Stream* stream, judemap::Reader* reader, const std::vector<std::uint64_t>& shape,
                    std::uint32_t dtype) {
  judemap::Frame frame;
  must(stream->fill(shape.data(), static_cast<std::uint32_t>(shape.size()), dtype, 0, 0) == JM_OK, "there is a slot");
  must(reader->next(0, &frame) == JM_OK, "there is a frame");
  return frame;
}

void types(judemap::Stream* stream, judemap::Reader* reader) {
  const struct {
    std::uint32_t dtype;
    int type;  // of [4 6 3], or -1
  } cases[] = {{JM_FLOAT32, CV_32FC3}, {JM_FLOAT64, CV_64FC3}, {JM_INT32, CV_32SC3},  {JM_INT64, -1},
               {JM_UINT8, CV_8UC3},    {JM_INT8, CV_8SC3},     {JM_UINT16, CV_16UC3}, {JM_INT16, CV_16SC3},
               {JM_BOOL, CV_8UC3},     {JM_FLOAT16, CV_16FC3}, {JM_BFLOAT16, -1},     {JM_UINT32, -1},
               {JM_UINT64, -1},        {JM_FLOAT8_E4M3FN, -1}, {JM_FLOAT8_E5M2, -1},  {JM_COMPLEX64, CV_32FC(6)}};
  for (const auto& c : cases) {
    const char* name = jm_dtype_name(c.dtype);
    const judemap::Frame frame = take(stream, reader, {4, 6, 3}, c.dtype);
    const cv::Mat mat = mat_of(*frame);
    must(mat.empty() == (c.type < 0), name);
    if (c.type < 0) continue;
    must(mat.type() == c.type && mat.rows == 4 && mat.cols == 6, name);
    must(mat.data == frame->data, "the pointer is kept");
    must(mat.isContinuous() && mat.step[0] == 6 * 3 * jm_item_size(c.dtype) &&
             mat.total() * mat.elemSize() == frame->byte_length,
         "a row follows the other");
    // What is written to the slot shows in the Mat, and what is written through a Mat in the slot.
    auto* bytes = static_cast<std::uint8_t*>(const_cast<void*>(frame->data));
    bytes[frame->byte_length - 1] = 1;
    must(mat.data[frame->byte_length - 1] == 1, "a store shows");
    cv::Mat part = mat_over(bytes, frame->shape, 3, c.dtype)(cv::Rect(2, 1, 3, 2));
    must(!part.isContinuous() && part.data == bytes + mat.step[0] + 2 * mat.elemSize(), "a part keeps the step");
    std::memset(part.data, 7, part.elemSize());
    must(bytes[mat.step[0] + 2 * mat.elemSize()] == 7, "a store through a part shows");
  }
  for (const std::vector<std::uint64_t>& shape :
       {std::vector<std::uint64_t>{}, {8}, {1, 2, 2, 2}, {2, 2, 513}, {2, 2, 0}}) {
    must(mat_of(*take(stream, reader, shape, JM_UINT8)).empty(), "no Mat for such a shape");
  }
}

// The median, the least and the greatest of nine runs, in nanoseconds for a call.
template <class Call>
void measure(const char* what, int calls, Call&& call) {
  std::vector<double> times;
  for (int run = 0; run < 9; ++run) {
    const auto begun = std::chrono::steady_clock::now();
    for (int i = 0; i < calls; ++i) call();
    times.push_back(std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - begun).count() / calls);
  }
  std::sort(times.begin(), times.end());
  std::printf("%s: %.3g us [%.3g %.3g]\n", what, times[4] / 1e3, times[0] / 1e3, times[8] / 1e3);
}

void figures(judemap::Stream* stream, judemap::Reader* reader) {
  volatile std::uint8_t sink = 0;
  for (const std::uint64_t side : {512u, 1448u}) {  // 1 MiB, and 8 MiB
    const judemap::Frame frame = take(stream, reader, {side, side, 4}, JM_UINT8);
    char text[80];
    std::snprintf(text, sizeof text, "a cv::Mat over a frame of %.0f MiB",
                  static_cast<double>(side * side * 4) / 0x1p20);
    measure(text, 100'000, [&] { sink = *mat_of(*frame).data; });
    std::snprintf(text, sizeof text, "clone() of it");
    measure(text, 20, [&] { sink = *mat_of(*frame).clone().data; });
  }
  static_cast<void>(sink);
}

}  // namespace

int main() {
  judemap::Stream stream;
  judemap::Reader reader;
  must(stream.create(4, 8 << 20) == JM_OK && reader.open(&stream) == JM_OK, "there is a stream");
  types(&stream, &reader);
  figures(&stream, &reader);
  return 0;
}
