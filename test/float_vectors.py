#!/usr/bin/env python3
"""Makes testdata/floats.txt, or with --check compares it with what NumPy and ml_dtypes say today.

Usage: float_vectors.py [--check] FILE

dtype_test.go and test/dtype_test.cc convert the same numbers and compare. So that the file stays small, it has a
checksum for each block of results:

    FORMAT WHAT BLOCK CHECKSUM

    decode      block b: the float32 bits of the codes 256 b to 256 b + 255
    encode32    block b: the codes for float32 numbers around those codes' numbers, see around()
    encode64    the same for float64 numbers
    random32    block b: the codes for the float32 numbers whose bits are random(65536 b + i), i from 0 to 65535
    random64    the same for float64 numbers, with exponents from -150 to 149, where something is to be rounded

A result that is NaN counts as -1 if it is negative, and else as -2. random(i) and mix() are SplitMix64 (Steele, Lea,
Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014). The codes for float32 numbers are those of NumPy
and ml_dtypes, which round float64 numbers to float32 first for the types of ml_dtypes; those for float64 numbers come
from a search among all numbers of the format.
"""

import sys

import ml_dtypes
import numpy as np

FORMATS = {
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
    "float8_e4m3fn": ml_dtypes.float8_e4m3fn,
    "float8_e5m2": ml_dtypes.float8_e5m2,
}
RANDOM_BLOCKS = 64

np.seterr(all="ignore")  # to overflow is what some of the numbers are for


def mix(x):
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def random(i):
    return mix((i.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15))


def checksum(results):
    i = np.arange(len(results), dtype=np.uint64)
    return int(mix(i << np.uint64(32) | results.astype(np.uint64)).sum())


def results_of(numbers, bits):
    """What counts for numbers of these bits."""
    negative = bits >> (8 * bits.dtype.itemsize - 1) != 0
    out = bits.astype(np.uint32)
    return np.where(np.isnan(numbers), np.where(negative, np.uint32(0xFFFFFFFF), np.uint32(0xFFFFFFFE)), out)


class Format:
    def __init__(self, dtype):
        self.dtype = np.dtype(dtype)
        self.word = np.dtype("u%d" % self.dtype.itemsize)
        self.codes = np.arange(256**self.dtype.itemsize).astype(self.word)
        self.numbers = self.codes.view(self.dtype).astype(np.float32)
        # The numbers from 0 up, and what lies between each and the next. Past the last one comes the number that would
        # follow if the exponent were not at its end.
        self.sign = 1 << (8 * self.dtype.itemsize - 1)
        positive = self.numbers[: self.sign].astype(np.float64)
        self.positive = positive[np.isfinite(positive)]
        self.nan = self.sign - 1
        infinity = np.flatnonzero(np.isinf(positive))
        self.overflow = infinity[0] if len(infinity) else self.nan
        following = np.append(self.positive[1:], 2 * self.positive[-1] - self.positive[-2])
        self.middles = (self.positive + following) / 2

    def encode(self, numbers):
        """The codes for float32 numbers, as the libraries convert them."""
        return numbers.astype(self.dtype).view(self.word)

    def search(self, numbers):
        """The codes for float64 numbers: of the nearest number of the format, of two the one with an even code."""
        magnitude = np.abs(numbers)
        code = np.searchsorted(self.middles, magnitude)  # middles[code - 1] < magnitude <= middles[code]
        last = len(self.middles)
        tie = (code < last) & (magnitude == self.middles[np.minimum(code, last - 1)]) & (code % 2 == 1)
        code = code + tie
        code = np.where(code >= last, self.overflow, code)
        code = np.where(np.isnan(numbers), self.nan, code)
        return (code | np.where(np.signbit(numbers), self.sign, 0)).astype(self.word)

    def results(self, codes):
        return results_of(self.numbers[codes], codes)

    def around(self, codes, kind):
        """For each code that is no NaN: its number, and if that is finite, the middle between it and the next one away
        from 0 (after the last, as far away as the one before); and of both the neighbours in float32 or float64: the
        bits one less (but not below 0) and one more."""
        word = np.dtype("u%d" % kind.itemsize)
        columns = []
        for code in codes:
            number = self.numbers[code]
            if np.isnan(number):
                continue
            points = [number]
            if np.isfinite(number):
                last = not np.isfinite(self.numbers[int(code) + 1])
                other = np.float64(self.numbers[int(code) - 1 if last else int(code) + 1])
                points.append(number + abs(other - number) / 2 * (-1 if np.signbit(number) else 1))
            for point in points:
                bits = int(np.array(point).astype(kind).view(word))
                columns += [bits, bits - 1 if bits > 0 else bits, bits + 1]
        return np.array(columns, dtype=np.uint64).astype(word).view(kind)


def lines():
    f32, f64 = np.dtype("f4"), np.dtype("f8")
    for name, dtype in FORMATS.items():
        f = Format(dtype)
        blocks = f.codes.reshape(-1, 256)
        for b, codes in enumerate(blocks):
            numbers = f.numbers[codes]
            yield name, "decode", b, results_of(numbers, numbers.view(np.uint32))
        for b, codes in enumerate(blocks):
            numbers = f.around(codes, f32)
            found = f.encode(numbers)
            agree(f, found, f.search(numbers.astype(np.float64)))
            yield name, "encode32", b, f.results(found)
        for b, codes in enumerate(blocks):
            yield name, "encode64", b, f.results(f.search(f.around(codes, f64)))
        for b in range(RANDOM_BLOCKS):
            numbers = random(np.arange(65536 * b, 65536 * (b + 1))).astype(np.uint32).view(f32)
            found = f.encode(numbers)
            agree(f, found, f.search(numbers.astype(np.float64)))
            yield name, "random32", b, f.results(found)
        for b in range(RANDOM_BLOCKS):
            bits = random(np.arange(65536 * b, 65536 * (b + 1)))
            exponent = (bits >> np.uint64(52)) % np.uint64(300) + np.uint64(1023 - 150)
            bits = bits & np.uint64(1 << 63 | (1 << 52) - 1) | exponent << np.uint64(52)
            yield name, "random64", b, f.results(f.search(bits.view(f64)))


def agree(f, libraries, search):
    if not np.array_equal(f.results(libraries), f.results(search)):
        sys.exit(f"{f.dtype}: the libraries and the search differ")


def main():
    *options, path = sys.argv[1:]
    text = "".join(f"{name} {what} {block} {checksum(r):016x}\n" for name, what, block, r in lines())
    if options == ["--check"]:
        with open(path) as file:
            wrong = [a for a, b in zip(text.splitlines(), file.read().splitlines() + [""] * text.count("\n")) if a != b]
        if wrong:
            sys.exit(f"{path} has other lines than NumPy and ml_dtypes give, {len(wrong)}; the first should be: {wrong[0]}")
        print(f"{path}: its {text.count(chr(10))} lines are what NumPy {np.__version__} and ml_dtypes {ml_dtypes.__version__} give")
    else:
        with open(path, "w") as file:
            file.write(text)


main()
