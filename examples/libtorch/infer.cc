// Takes the tensors of a stream, runs a convolution over each, and writes what it gives into another stream. LibTorch
// reads a frame where it came from, and its last layer writes where the result is read.
//
//   infer FRAMES RESULTS
//
// FRAMES has float32 [N 3 H W], and RESULTS gets float32 [N 8 H W]. Both streams are the client's, who makes them; the
// program may be started first.
#include <cstdint>
#include <cstdio>
#include <exception>
#include <memory>
#include <string>
#include <utility>

#include "../cpp/serve.h"
#include "tensor.h"

namespace {

constexpr std::int64_t kColours = 3, kChannels = 8, kWindow = 3;

struct NetImpl : torch::nn::Module {
  // A trained model would be loaded, with torch::load or torch::jit::load. These weights are whole numbers from -4 to
  // 4, so that sums are exact in whatever order they are taken.
  NetImpl() {
    conv =
        register_module("conv", torch::nn::Conv2d(torch::nn::Conv2dOptions(kColours, kChannels, kWindow).padding(1)));
    torch::NoGradGuard no_grad;
    const auto weights = torch::arange(conv->weight.numel(), torch::kFloat32);
    conv->weight.copy_((weights * 7).remainder(9).sub(4).view(conv->weight.sizes()));
    conv->bias.copy_(torch::arange(kChannels, torch::kFloat32));
  }

  // Stores the result in `out`.
  void forward(const torch::Tensor& x, torch::Tensor* out) { torch::clamp_min_out(*out, conv->forward(x), 0); }  // ReLU

  torch::nn::Conv2d conv{nullptr};
};
TORCH_MODULE(Net);

// Answers one frame, and gives it back.
jm_status answer(judemap::Frame* frame, const std::shared_ptr<Source>& source, Net* net, judemap::Stream* results) {
  const jm_tensor from = **frame;
  if (from.dtype != JM_FLOAT32 || from.ndim != 4 || from.shape[1] != kColours) {
    std::fprintf(stderr, "%s; %s\n", serve::describe(from).c_str(),
                 scalar_type(from.dtype) ? "this model takes float32 [N 3 H W]" : "LibTorch has no such type");
    frame->release();
    return JM_OK;
  }
  const torch::Tensor x = *tensor_of(frame, source);

  const std::uint64_t shape[] = {from.shape[0], kChannels, from.shape[2], from.shape[3]};
  void* data;
  std::uint64_t length;
  if (const jm_status status = results->begin(shape, 4, JM_FLOAT32, &data, &length)) return status;
  torch::Tensor out = tensor_over(data, shape, 4, JM_FLOAT32);
  try {
    (*net)->forward(x, &out);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s: %s\n", serve::describe(from).c_str(), e.what());
    return results->abort();
  }
  // A function of LibTorch writes to the memory that its result has, if shape and type are right, and else takes other.
  if (x.data_ptr() != from.data || out.data_ptr() != data) {
    std::fprintf(stderr, "LibTorch used memory of its own\n");
    results->abort();
    return JM_ERR_ARGUMENT;
  }
  return results->commit();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "infer FRAMES RESULTS\n");
    return 2;
  }
  serve::stop_on_signals();
  const auto source = std::make_shared<Source>();
  judemap::Stream results;
  for (const auto& [stream, name] : {std::pair(&source->stream, argv[1]), std::pair(&results, argv[2])}) {
    const jm_status status = serve::wait_for(stream, name);
    if (serve::stopped) return 0;
    if (status != JM_OK) return serve::failed(std::string("stream \"") + name + '"', status);
  }

  torch::NoGradGuard no_grad;
  Net net;
  net->eval();
  if (const jm_status status = source->reader.open(&source->stream)) return serve::failed("reading the frames", status);
  std::fprintf(stderr, "serving\n");
  judemap::Frame frame;
  std::uint64_t served = 0;
  while (!serve::stopped) {
    jm_status status = serve::next(&source->reader, -1, &frame);
    if (status == JM_ERR_TIMEOUT) break;
    if (status == JM_OK) status = answer(&frame, source, &net, &results);
    if (status != JM_OK) return serve::failed("serving", status);
    ++served;
  }
  std::fprintf(stderr, "%llu frames\n", static_cast<unsigned long long>(served));
  return 0;
}
