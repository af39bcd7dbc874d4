//go:build ignore
// (For the go command: this file is a program of its own.)
//
// main.go in C++.
#include <cstdint>
#include <cstdio>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "judemap/segment.h"
#include "judemap/stream.h"

namespace {

constexpr std::int64_t kTimeout = 30'000'000'000;  // ns

int fail(const std::string& line, jm_status status) {
  std::cerr << "peer: " << line << ": " << jm_strerror(status) << "\n";
  return 1;
}

std::vector<std::uint8_t> from_hex(const std::string& hex) {  // "x0a1b"
  std::vector<std::uint8_t> bytes;
  for (std::size_t i = 1; i + 1 < hex.size(); i += 2) {
    bytes.push_back(static_cast<std::uint8_t>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const bool is_stream = argv[1] == std::string("stream");
  judemap::Segment segment;
  judemap::Stream stream;
  judemap::Reader reader;
  jm_status status = is_stream ? stream.open(argv[2]) : segment.open(argv[2]);
  if (status == JM_OK && is_stream) status = reader.open(&stream);
  if (status != JM_OK) return fail(argv[2], status);
  std::cout << "ready" << std::endl;
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    std::string what, hex;
    std::uint64_t number;
    words >> what >> number;
    if (what == "write") {
      words >> hex;
      const std::vector<std::uint8_t> bytes = from_hex(hex);
      std::vector<std::uint64_t> shape;
      for (std::uint64_t n; words >> n;) shape.push_back(n);
      const auto rank = static_cast<std::uint32_t>(shape.size());
      const auto dtype = static_cast<std::uint32_t>(number);
      status = is_stream ? stream.write(shape.data(), rank, dtype, bytes.data(), bytes.size(), kTimeout)
                         : segment.write(shape.data(), rank, dtype, bytes.data(), bytes.size());
      if (status != JM_OK) return fail(line, status);
      std::cout << "ok" << std::endl;
    } else {
      jm_tensor tensor;
      status = is_stream ? reader.next(kTimeout, &tensor) : segment.next(number, kTimeout, &tensor);
      if (status != JM_OK) return fail(line, status);
      std::printf("%llu %u x", static_cast<unsigned long long>(tensor.version), tensor.dtype);
      const auto* bytes = static_cast<const std::uint8_t*>(tensor.data);
      for (std::uint64_t i = 0; i < tensor.byte_length; ++i) std::printf("%02x", bytes[i]);
      for (std::uint32_t i = 0; i < tensor.ndim; ++i) {
        std::printf(" %llu", static_cast<unsigned long long>(tensor.shape[i]));
      }
      std::printf("\n");
      std::fflush(stdout);
    }
  }
  return 0;
}
