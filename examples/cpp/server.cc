// A server of a model: takes the frames of a stream, in batches, and answers each with a row in another stream.
//
//   server FRAMES RESULTS [BATCH [THREADS]]
//
// FRAMES has pictures, uint8 [H W 3]. A frame of RESULTS is a table, int64 [rows 12], with a row for each picture of a
// batch: the frame's number, the class, and the 10 scores. The class is -1 where the frame is no such picture. Both
// streams are the client's, who makes them; the server may be started first. BATCH is how many frames a thread holds at
// most (4), THREADS how many threads work (2).
#include <judemap/stream.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "model.h"
#include "serve.h"

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kColumns = 2 + Model::kClasses;
constexpr std::int64_t kFill = serve::kMillisecond / 2;         // how long a batch that has begun waits for more
constexpr std::int64_t kPatience = 1000 * serve::kMillisecond;  // how long an answer waits for clients to take others

bool is_picture(const jm_tensor& frame) {
  return frame.dtype == JM_UINT8 && frame.ndim == 3 && frame.shape[0] >= Model::kWindow &&
         frame.shape[1] >= Model::kWindow && frame.shape[2] == Model::kColours;
}

class Server {
 public:
  Server(judemap::Stream* results, judemap::Reader* reader, std::size_t batch)
      : results_(results), reader_(reader), batch_(batch) {}

  // What each thread does, until the program is to end. The threads take turns at the reader: while one waits for
  // frames, others work on theirs.
  void work() {
    std::vector<judemap::Frame> frames;  // held, and so whole, until they are cleared
    std::vector<Model::Features> features(batch_);
    frames.reserve(batch_);
    while (!serve::stopped) {
      Clock::time_point begun;
      jm_status status;
      {
        std::lock_guard<std::mutex> turn(turn_);
        status = fill(&frames, &begun);
      }
      if (status == JM_OK) {
        for (std::size_t i = 0; i < frames.size(); ++i) {
          const jm_tensor& frame = *frames[i];
          if (!is_picture(frame)) {
            std::fprintf(stderr, "%s is no picture, uint8 [H W 3]\n", serve::describe(frame).c_str());
            continue;
          }
          features[i] =
              model_.features(static_cast<const std::uint8_t*>(frame.data), static_cast<std::size_t>(frame.shape[0]),
                              static_cast<std::size_t>(frame.shape[1]));
        }
        status = answer(frames, features);
      }
      if (status == JM_OK) {
        count(frames.size(), Clock::now() - begun);
      } else if (status == JM_ERR_NO_SLOT) {
        std::fprintf(stderr, "no client takes the results; %zu are dropped\n", frames.size());
      } else if (status != JM_ERR_TIMEOUT) {
        exit_code_ = serve::failed("serving", status);
        serve::stopped = true;
      }
      frames.clear();
    }
  }

  int exit_code() const { return exit_code_; }

  // Says what was done. Once no thread works any more.
  void report() {
    std::sort(times_.begin(), times_.end());
    std::fprintf(stderr, "%llu frames in %llu batches, %llu missed", static_cast<unsigned long long>(served_),
                 static_cast<unsigned long long>(batches_), static_cast<unsigned long long>(reader_->missed()));
    if (!times_.empty()) {
      std::fprintf(stderr, "; from a batch's first frame to its results p50 %.0f us, p99 %.0f us",
                   times_[times_.size() / 2], times_[times_.size() * 99 / 100]);
    }
    std::fprintf(stderr, "\n");
  }

 private:
  // Waits for a frame, and then a little for others.
  jm_status fill(std::vector<judemap::Frame>* frames, Clock::time_point* begun) {
    judemap::Frame frame;
    if (const jm_status status = serve::next(reader_, -1, &frame)) return status;
    *begun = Clock::now();
    frames->push_back(std::move(frame));
    while (frames->size() < batch_) {
      const std::int64_t left = kFill - std::chrono::nanoseconds(Clock::now() - *begun).count();
      const jm_status status = serve::next(reader_, std::max<std::int64_t>(left, 0), &frame);
      if (status == JM_ERR_TIMEOUT) break;
      if (status != JM_OK) return status;
      frames->push_back(std::move(frame));
    }
    return JM_OK;
  }

  // Writes the last layer's scores where the client reads them.
  jm_status answer(const std::vector<judemap::Frame>& frames, const std::vector<Model::Features>& features) {
    const std::uint64_t shape[] = {frames.size(), kColumns};
    void* data;
    std::uint64_t length;
    if (const jm_status status = results_->begin(shape, 2, JM_INT64, &data, &length, kPatience)) return status;
    auto* row = static_cast<std::int64_t*>(data);
    for (std::size_t i = 0; i < frames.size(); ++i, row += kColumns) {
      row[0] = static_cast<std::int64_t>(frames[i]->version / 2);
      if (is_picture(*frames[i])) {
        row[1] = static_cast<std::int64_t>(model_.classify(features[i], row + 2));
      } else {
        row[1] = -1;
        std::fill(row + 2, row + kColumns, 0);
      }
    }
    return results_->commit();
  }

  void count(std::size_t frames, Clock::duration time) {
    constexpr std::size_t kTimes = 100'000;  // the last ones
    std::lock_guard<std::mutex> hold(counting_);
    const double microseconds = std::chrono::duration<double, std::micro>(time).count();
    if (times_.size() < kTimes) {
      times_.push_back(microseconds);
    } else {
      times_[batches_ % kTimes] = microseconds;
    }
    served_ += frames;
    ++batches_;
  }

  const Model model_;
  judemap::Stream* const results_;
  judemap::Reader* const reader_;
  const std::size_t batch_;
  std::mutex turn_;  // whose turn it is at the reader
  std::atomic<int> exit_code_{0};

  std::mutex counting_;
  std::uint64_t served_ = 0, batches_ = 0;
  std::vector<double> times_;  // microseconds
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3 || argc > 5) {
    std::fprintf(stderr, "server FRAMES RESULTS [BATCH [THREADS]]\n");
    return 2;
  }
  const long batch = argc > 3 ? std::atol(argv[3]) : 4, threads = argc > 4 ? std::atol(argv[4]) : 2;
  if (batch < 1 || batch > JM_STREAM_SLOTS || threads < 1 || threads > JM_STREAM_SLOTS) {
    std::fprintf(stderr, "BATCH and THREADS are from 1 to %d\n", JM_STREAM_SLOTS);
    return 2;
  }
  serve::stop_on_signals();

  judemap::Stream frames, results;  // before what uses them, so that they go after it
  judemap::Reader reader;
  for (const auto& [stream, name] : {std::pair(&frames, argv[1]), std::pair(&results, argv[2])}) {
    const jm_status status = serve::wait_for(stream, name);
    if (serve::stopped) return 0;
    if (status != JM_OK) return serve::failed(std::string("stream \"") + name + '"', status);
  }
  // Two slots more than are held at a time leave the client always one to write to.
  const long held = batch * threads, slots = static_cast<long>(frames.slots());
  if (held + 2 > slots) {
    std::fprintf(stderr, "%ld threads hold %ld frames each, which wants %ld slots; stream \"%s\" has %ld\n", threads,
                 batch, held + 2, argv[1], slots);
    return 1;
  }
  if (const jm_status status = reader.open(&frames)) return serve::failed("reading the frames", status);

  Server server(&results, &reader, static_cast<std::size_t>(batch));
  std::fprintf(stderr, "serving\n");
  std::vector<std::thread> workers;
  for (long i = 0; i < threads; ++i) workers.emplace_back([&server] { server.work(); });
  for (std::thread& worker : workers) worker.join();
  server.report();
  return server.exit_code();
}
