// The model: a quantised network in integers, as they run on machines without a GPU. Its results are the same on every
// machine and with every compiler, so that another implementation can be compared bit for bit.
//
//   pixels uint8 [H W 3] -> convolution 3x3, stride 2, 8 channels -> ReLU -> sum over the picture -> 10 scores int64
#ifndef JUDEMAP_EXAMPLES_MODEL_H
#define JUDEMAP_EXAMPLES_MODEL_H

#include <array>
#include <cstddef>
#include <cstdint>

class Model {
 public:
  static constexpr std::size_t kColours = 3, kChannels = 8, kClasses = 10, kWindow = 3;
  using Features = std::array<std::int64_t, kChannels>;

  // A trained model would come from a file; these weights are made.
  Model() {
    std::uint32_t state = 1;
    const auto weight = [&state] {
      state = state * 1664525u + 1013904223u;  // a linear congruential generator
      return static_cast<int>(state >> 24) - 128;
    };
    for (auto& column : kernel_) {
      for (auto& w : column) w = static_cast<std::int8_t>(weight());
    }
    for (auto& row : classes_) {
      for (auto& w : row) w = weight();
    }
  }

  // What the convolution makes of a picture of `height` x `width` pixels, 3 x 3 at least.
  Features features(const std::uint8_t* pixels, std::size_t height, std::size_t width) const {
    Features sums{};
    for (std::size_t y = 0; y + kWindow <= height; y += 2) {
      for (std::size_t x = 0; x + kWindow <= width; x += 2) {
        std::array<std::int32_t, kChannels> channel{};
        for (std::size_t dy = 0; dy < kWindow; ++dy) {
          const std::uint8_t* row = pixels + ((y + dy) * width + x) * kColours;
          for (std::size_t i = 0; i < kWindow * kColours; ++i) {
            const auto& weights = kernel_[dy * kWindow * kColours + i];
            for (std::size_t c = 0; c < kChannels; ++c) channel[c] += weights[c] * row[i];
          }
        }
        for (std::size_t c = 0; c < kChannels; ++c) sums[c] += channel[c] > 0 ? channel[c] : 0;
      }
    }
    return sums;
  }

  // The last layer: stores kClasses scores, and returns the class of the largest, the first of equal ones.
  std::size_t classify(const Features& features, std::int64_t* scores) const {
    std::size_t best = 0;
    for (std::size_t k = 0; k < kClasses; ++k) {
      scores[k] = 0;
      for (std::size_t c = 0; c < kChannels; ++c) scores[k] += classes_[k][c] * features[c];
      if (scores[k] > scores[best]) best = k;
    }
    return best;
  }

 private:
  std::array<std::array<std::int8_t, kChannels>, kWindow * kWindow * kColours> kernel_;  // by row, column, colour
  std::array<std::array<std::int32_t, kChannels>, kClasses> classes_;
};

#endif  // JUDEMAP_EXAMPLES_MODEL_H
