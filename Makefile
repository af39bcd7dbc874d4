# make help   this list
# make run    the demo: a camera's frames through a stream, from one producer to several consumers
# make test   all tests, Go and C++; at the end, what was skipped and why
# make check  everything else that must hold: format, linters, race detector, sanitizers, fuzzing, mutants, platforms
# make check-all  the same with all mutants, of which make check takes a third, and for longer
# make platforms  the tests on other processors and systems, by emulators; where nothing can run here, links or compiles
# make examples  judemap in TensorFlow, ONNX Runtime, Triton, Python, Node, FFmpeg, LibTorch and OpenCV: installs and runs
# make bench  measurements beside the limits of the machine and the peers: tables; ten minutes
# make plots  how cost grows with size, readers and segments: docs/growth-*.svg
# make bench-compare BASE=main  this checkout's benchmarks beside those of another commit
# make bench-cuda  copies from segments to a CUDA device, where there is one
# make fmt    format all sources
# make clean  remove what was built

GO ?= go
BUILD ?= build
TOOLS := $(BUILD)/tools
CLANG_FORMAT ?= $(TOOLS)/bin/clang-format

BENCHSTAT := golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da

CXX_SOURCES := $(shell git ls-files '*.cc' '*.c' '*.h')

.PHONY: help run build test test-go test-cpp check check-all platforms examples bench plots bench-compare bench-cuda fmt clean

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

run: build
	bin/judemap demo

build:
	@GO="$(GO)" test/needs.sh
	$(GO) build -o bin/judemap ./cmd/judemap

test:
	GO="$(GO)" BUILD="$(BUILD)" test/test.sh

test-go:
	GO="$(GO)" test/go.sh

test-cpp:
	test/cpp.sh $(BUILD)/plain

check:
	test/gate.sh

check-all:
	MUTANTS=all test/gate.sh

examples:
	GO="$(GO)" examples/run

platforms:
	GO="$(GO)" BUILD="$(BUILD)" test/platforms.sh

bench:
	BENCHSTAT=$(BENCHSTAT) GO="$(GO)" BUILD="$(BUILD)" bench/run.sh

plots:
	GO="$(GO)" BUILD="$(BUILD)" bench/plots.sh

bench-compare:
	BENCHSTAT=$(BENCHSTAT) GO="$(GO)" BUILD="$(BUILD)" bench/compare.sh "$(BASE)"

bench-cuda:
	GO="$(GO)" BUILD="$(BUILD)" bench/cuda/run.sh

fmt: $(TOOLS)/ready
	gofmt -w .
	$(CLANG_FORMAT) -i $(CXX_SOURCES)

# The formatter's version decides what is well formatted, so that everybody uses this one. ziglang is a compiler with
# the headers of other platforms; NumPy checks what the command writes for it, and with ml_dtypes the small floats.
$(TOOLS)/ready: Makefile
	python3 -m venv $(TOOLS)
	$(TOOLS)/bin/pip install --quiet clang-format==19.1.7 ziglang==0.17.1 numpy==2.3.5 ml_dtypes==0.6.0
	touch $@

clean:
	rm -rf bin $(BUILD)
