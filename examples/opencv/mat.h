// cv::Mat over a tensor of judemap: a header, with the pointer kept. Copy this file.
#ifndef JUDEMAP_EXAMPLES_MAT_H
#define JUDEMAP_EXAMPLES_MAT_H

#include <judemap/judemap.h>

#include <climits>
#include <cstdint>
#include <opencv2/core.hpp>

// OpenCV's depth for an element type, or -1 where it has none (uint32, uint64, int64, bfloat16, the 8-bit floats). A
// bool is a byte of 0 or 1, as masks are; complex64 is two channels of float32.
inline int depth_of(std::uint32_t dtype) {
  switch (dtype) {
    case JM_UINT8:
    case JM_BOOL:
      return CV_8U;
    case JM_INT8:
      return CV_8S;
    case JM_UINT16:
      return CV_16U;
    case JM_INT16:
      return CV_16S;
    case JM_INT32:
      return CV_32S;
    case JM_FLOAT32:
    case JM_COMPLEX64:
      return CV_32F;
    case JM_FLOAT64:
      return CV_64F;
    case JM_FLOAT16:
      return CV_16F;
    default:
      return -1;
  }
}

// A Mat of `data`, a tensor [H W] or [H W C] with C channels, 512 at most; empty if OpenCV has none such. It keeps
// nothing alive: what it shows must be held (a frame) or begun (a slot that is written to) for as long as it is used.
inline cv::Mat mat_over(void* data, const std::uint64_t* shape, std::uint32_t ndim, std::uint32_t dtype) {
  const int depth = depth_of(dtype);
  if (depth < 0 || ndim < 2 || ndim > 3 || shape[0] > INT_MAX || shape[1] > INT_MAX) return {};
  std::uint64_t channels = ndim == 3 ? shape[2] : 1;
  if (channels == 0 || channels > CV_CN_MAX) return {};
  if (dtype == JM_COMPLEX64) channels *= 2;
  if (channels > CV_CN_MAX) return {};
  return cv::Mat(static_cast<int>(shape[0]), static_cast<int>(shape[1]), CV_MAKETYPE(depth, static_cast<int>(channels)),
                 data);
}

// A frame that is read. OpenCV's functions take it as a const cv::Mat, which is not written to.
inline const cv::Mat mat_of(const jm_tensor& frame) {
  return mat_over(const_cast<void*>(frame.data), frame.shape, frame.ndim, frame.dtype);
}

#endif  // JUDEMAP_EXAMPLES_MAT_H
