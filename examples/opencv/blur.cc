// Takes the pictures of a stream, and answers each with one that is grey and smoothed, in another stream. OpenCV reads
// them where they came from, and writes where they are read.
//
//   blur FRAMES RESULTS
//
// FRAMES has pictures in red, green and blue, uint8 [H W 3], or in grey, uint8 or float32 [H W]. RESULTS gets the same
// in grey. Both streams are the client's, who makes them; the program may be started first.
#include <judemap/stream.h>

#include <cstdint>
#include <cstdio>
#include <opencv2/imgproc.hpp>
#include <string>
#include <utility>

#include "../cpp/serve.h"
#include "mat.h"

namespace {

// Answers one frame. `grey` is room that is used again and again.
jm_status answer(const jm_tensor& frame, cv::Mat* grey, judemap::Stream* results) {
  const cv::Mat picture = mat_of(frame);
  const int type = picture.type();
  if (picture.empty() || (type != CV_8UC3 && type != CV_8UC1 && type != CV_32FC1)) {
    std::fprintf(stderr, "%s is no picture, uint8 [H W 3], uint8 [H W] or float32 [H W]\n",
                 serve::describe(frame).c_str());
    return JM_OK;
  }

  void* data;
  std::uint64_t length;
  if (const jm_status status = results->begin(frame.shape, 2, frame.dtype, &data, &length)) return status;
  cv::Mat result = mat_over(data, frame.shape, 2, frame.dtype);
  try {
    if (type == CV_8UC3) cv::cvtColor(picture, *grey, cv::COLOR_RGB2GRAY);  // OpenCV's own files are in BGR
    cv::GaussianBlur(type == CV_8UC3 ? *grey : picture, result, cv::Size(3, 3), 0);
  } catch (const cv::Exception& e) {
    std::fprintf(stderr, "%s: %s\n", serve::describe(frame).c_str(), e.what());
    return results->abort();
  }
  // A function of OpenCV writes to the memory that its result has, if size and type are right, and else takes other.
  if (result.data != data) {
    std::fprintf(stderr, "OpenCV wrote to memory of its own\n");
    results->abort();
    return JM_ERR_ARGUMENT;
  }
  return results->commit();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "blur FRAMES RESULTS\n");
    return 2;
  }
  serve::stop_on_signals();
  judemap::Stream frames, results;
  for (const auto& [stream, name] : {std::pair(&frames, argv[1]), std::pair(&results, argv[2])}) {
    const jm_status status = serve::wait_for(stream, name);
    if (serve::stopped) return 0;
    if (status != JM_OK) return serve::failed(std::string("stream \"") + name + '"', status);
  }
  judemap::Reader reader;
  if (const jm_status status = reader.open(&frames)) return serve::failed("reading the frames", status);

  std::fprintf(stderr, "serving\n");
  judemap::Frame frame;
  cv::Mat grey;
  std::uint64_t served = 0;
  while (!serve::stopped) {
    jm_status status = serve::next(&reader, -1, &frame);
    if (status == JM_ERR_TIMEOUT) break;
    if (status == JM_OK) status = answer(*frame, &grey, &results);
    if (status != JM_OK) return serve::failed("serving", status);
    ++served;
  }
  std::fprintf(stderr, "%llu frames\n", static_cast<unsigned long long>(served));
  return 0;
}
