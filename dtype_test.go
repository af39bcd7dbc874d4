package judemap

import (
	"bufio"
	"errors"
	"fmt"
	"math"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
)

// The Go table of types is the core's.
func TestDTypeTable(t *testing.T) {
	layout, err := os.ReadFile("include/judemap/layout.h")
	if err != nil {
		t.Fatal(err)
	}
	type row struct {
		Number, Size int
		Name         string
	}
	var want, got []row
	for _, m := range regexp.MustCompile(`(?m)^  X\((\w+), (\d+), "(\w+)", (\d+), `).FindAllStringSubmatch(string(layout), -1) {
		number, _ := strconv.Atoi(m[2])
		size, _ := strconv.Atoi(m[4])
		want = append(want, row{number, size, m[3]})
		if !strings.EqualFold(m[1], m[3]) {
			t.Errorf("JM_%s is named %q", m[1], m[3])
		}
	}
	for d := range dtypes {
		got = append(got, row{d, DType(d).Size(), DType(d).String()})
	}
	if diff := cmp.Diff(want, got); diff != "" || len(want) != 16 {
		t.Errorf("the tables of %d and %d types differ (-C +Go):\n%s", len(want), len(got), diff)
	}
	for d, row := range dtypes {
		if row.kind != reflect.Invalid && dtypeOfKind[row.kind] != DType(d) {
			t.Errorf("%v is not the type of its kind, %v", DType(d), row.kind)
		}
	}
}

func TestDTypeNames(t *testing.T) {
	for d := range DType(len(dtypes)) {
		if got, err := ParseDType(d.String()); got != d || err != nil {
			t.Errorf("ParseDType(%q) = %v, %v", d.String(), got, err)
		}
	}
	for _, d := range []DType{16, 1 << 31, math.MaxUint32} {
		if got := d.Size(); got != 0 {
			t.Errorf("%v.Size() = %d, want 0", d, got)
		}
	}
	for _, name := range []string{"", "float", "Float32", "DType(16)", "float8", "F16"} {
		if _, err := ParseDType(name); !errors.Is(err, ErrDType) {
			t.Errorf("ParseDType(%q): %v, want ErrDType", name, err)
		}
	}
}

// roundTrip commits values, and reads them back as T.
func roundTrip[T Element](t *testing.T, s *Segment, want DType, values ...T) {
	t.Helper()
	if got := DTypeOf[T](); got != want {
		t.Errorf("DTypeOf[%T] is %v, want %v", *new(T), got, want)
	}
	if size := int(unsafe.Sizeof(*new(T))); size != want.Size() {
		t.Errorf("%T has %d bytes, and %v %d", *new(T), size, want, want.Size())
	}
	if err := WriteSlice(s, []int{len(values)}, values); err != nil {
		t.Fatal(err)
	}
	view, err := s.Read()
	if err != nil {
		t.Fatal(err)
	}
	if view.DType() != want {
		t.Errorf("%T is stored as %v, want %v", *new(T), view.DType(), want)
	}
	got, err := Slice[T](&view)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(values, got); diff != "" {
		t.Errorf("%v (-written +read):\n%s", want, diff)
	}
}

// Every type is written and read as its Go type, and as types made from that.
func TestElements(t *testing.T) {
	type (
		named32 float32
		named16 uint16
		named8  uint8
		made    F16
		alias   = F16
	)
	s := newSegment(t, 64)
	roundTrip[float32](t, s, Float32, 1.5, -2)
	roundTrip[float64](t, s, Float64, 1.5, -2)
	roundTrip[int32](t, s, Int32, 1, -2)
	roundTrip[int64](t, s, Int64, 1, -2)
	roundTrip[uint8](t, s, Uint8, 1, 255)
	roundTrip[int8](t, s, Int8, 1, -2)
	roundTrip[uint16](t, s, Uint16, 1, 65535)
	roundTrip[int16](t, s, Int16, 1, -2)
	roundTrip[bool](t, s, Bool, true, false)
	roundTrip[F16](t, s, Float16, ToF16(1.5), ToF16(-2))
	roundTrip[BF16](t, s, BFloat16, ToBF16(1.5), ToBF16(-2))
	roundTrip[uint32](t, s, Uint32, 1, math.MaxUint32)
	roundTrip[uint64](t, s, Uint64, 1, math.MaxUint64)
	roundTrip[F8E4M3FN](t, s, Float8E4M3FN, ToF8E4M3FN(1.5), ToF8E4M3FN(-2))
	roundTrip[F8E5M2](t, s, Float8E5M2, ToF8E5M2(1.5), ToF8E5M2(-2))
	roundTrip[complex64](t, s, Complex64, 1.5-2i, -1i)
	roundTrip[named32](t, s, Float32, 1)
	roundTrip[named16](t, s, Uint16, 1)
	roundTrip[named8](t, s, Uint8, 1)
	roundTrip[made](t, s, Uint16, 1)
	roundTrip[alias](t, s, Float16, 1)

	// Elements of the same size and kind are no less other types.
	if err := s.Fill([]int{2}, Float16, 1); err != nil {
		t.Fatal(err)
	}
	view, err := s.Read()
	if err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{"uint16": second(Slice[uint16](&view)), "BF16": second(Slice[BF16](&view))} {
		if !errors.Is(err, ErrDType) || !strings.Contains(err.Error(), "float16") {
			t.Errorf("float16 as %s: %v", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestElementsDoNotAllocate(t *testing.T) {
	s := newSegment(t, 64)
	shape := []int{2}
	values16, values8, complexes := []F16{1, 2}, []F8E5M2{1, 2}, []complex64{1, 2i}
	for name, f := range map[string]func() error{
		"WriteSlice of F16":       func() error { return WriteSlice(s, shape, values16) },
		"WriteSlice of F8E5M2":    func() error { return WriteSlice(s, shape, values8) },
		"WriteSlice of complex64": func() error { return WriteSlice(s, shape, complexes) },
		"Slice of complex64": func() error {
			view, err := s.Read()
			if err != nil {
				return err
			}
			got, err := Slice[complex64](&view)
			if err == nil && got[1] != 2i {
				err = fmt.Errorf("%v", got)
			}
			return err
		},
		"Fill": func() error { return s.Fill(shape, Complex64, 1) },
	} {
		if err := WriteSlice(s, shape, complexes); err != nil {
			t.Fatal(err)
		}
		var err error
		if n := testing.AllocsPerRun(100, func() { err = f() }); n != 0 || err != nil {
			t.Errorf("%s: %v allocations, %v", name, n, err)
		}
	}
}

// What Fill stores, and what it refuses: the numbers at the bounds of every type. test/dtype_test.cc has more.
func TestFillTypes(t *testing.T) {
	inf, nan := math.Inf(1), math.NaN()
	s := newSegment(t, 64)
	for _, test := range []struct {
		dtype  DType
		stored map[float64]string // the element's bytes, little-endian
		zero   []float64          // also stored: as 0
		one    []float64          // and as 1
		range_ []float64          // ErrRange
	}{
		{dtype: Float32, stored: map[float64]string{1: "\x00\x00\x80\x3f", inf: "\x00\x00\x80\x7f", math.MaxFloat32: "\xff\xff\x7f\x7f"},
			range_: []float64{3.5e38, -1e300}},
		{dtype: Float64, stored: map[float64]string{-2.5: "\x00\x00\x00\x00\x00\x00\x04\xc0", inf: "\x00\x00\x00\x00\x00\x00\xf0\x7f"}},
		{dtype: Int32, stored: map[float64]string{1<<31 - 0.5: "\xff\xff\xff\x7f", -1 << 31: "\x00\x00\x00\x80"},
			range_: []float64{1 << 31, -1<<31 - 1, nan, inf, -inf}},
		{dtype: Int64, stored: map[float64]string{-1 << 63: "\x00\x00\x00\x00\x00\x00\x00\x80"},
			range_: []float64{1 << 63, -1<<63 - 2048, nan, inf}},
		{dtype: Uint8, stored: map[float64]string{255.9: "\xff"}, zero: []float64{-0.9, 0.9}, range_: []float64{256, 300, -1, nan, inf}},
		{dtype: Int8, stored: map[float64]string{127.9: "\x7f", -128.9: "\x80"}, range_: []float64{128, -129, nan}},
		{dtype: Uint16, stored: map[float64]string{65535.5: "\xff\xff"}, zero: []float64{-0.9}, range_: []float64{65536, -1, nan}},
		{dtype: Int16, stored: map[float64]string{-32768.5: "\x00\x80"}, range_: []float64{32768, -32769, nan}},
		{dtype: Bool, zero: []float64{0, math.Copysign(0, -1)}, one: []float64{1, 0.2, 5, -1, -0.5, 1e300, inf, nan}},
		{dtype: Float16, stored: map[float64]string{1: "\x00\x3c", 65504: "\xff\x7b", 1 + 1.0/2048 + 1.0/(1<<40): "\x01\x3c",
			-inf: "\x00\xfc"}, zero: []float64{1e-10}, range_: []float64{65504.1, -1e6}},
		{dtype: BFloat16, stored: map[float64]string{1: "\x80\x3f", 1 + 1.0/256 + 1.0/(1<<40): "\x81\x3f", inf: "\x80\x7f"},
			range_: []float64{3.4e38, 1e300}},
		{dtype: Uint32, stored: map[float64]string{math.MaxUint32 + 0.9: "\xff\xff\xff\xff"}, zero: []float64{-0.9},
			range_: []float64{1 << 32, -1, nan, inf}},
		{dtype: Uint64, stored: map[float64]string{1<<64 - 2048: "\x00\xf8\xff\xff\xff\xff\xff\xff"}, zero: []float64{-0.9},
			range_: []float64{1 << 64, -1, nan, inf}},
		{dtype: Float8E4M3FN, stored: map[float64]string{1: "\x38", -448: "\xfe"}, range_: []float64{449, inf, -inf}},
		{dtype: Float8E5M2, stored: map[float64]string{1: "\x3c", -57344: "\xfb", inf: "\x7c"}, range_: []float64{57345}},
		{dtype: Complex64, stored: map[float64]string{1: "\x00\x00\x80\x3f\x00\x00\x00\x00"}, range_: []float64{3.5e38}},
	} {
		if test.stored == nil {
			test.stored = map[float64]string{}
		}
		check := func(value float64, want string) {
			t.Helper()
			if err := s.Fill([]int{3}, test.dtype, value); err != nil {
				t.Errorf("Fill(%v, %v): %v", test.dtype, value, err)
				return
			}
			got, err := s.Read()
			if err != nil || string(got.Data()) != strings.Repeat(want, 3) || got.DType() != test.dtype {
				t.Errorf("Fill(%v, %v) stored %x as %v, want %x (%v)", test.dtype, value, got.Data(), got.DType(), want, err)
			}
		}
		for value, want := range test.stored {
			check(value, want)
		}
		for _, value := range test.zero {
			check(value, strings.Repeat("\x00", test.dtype.Size()))
		}
		for _, value := range test.one {
			check(value, "\x01")
		}
		version := s.Version()
		for _, value := range test.range_ {
			err := s.Fill([]int{3}, test.dtype, value)
			if !errors.Is(err, ErrRange) || !strings.Contains(err.Error(), test.dtype.String()) || !strings.Contains(err.Error(), fmt.Sprint(value)) {
				t.Errorf("Fill(%v, %v): %v, want ErrRange with the type and the value", test.dtype, value, err)
			}
		}
		if s.Version() != version {
			t.Errorf("what Fill(%v) refuses changes the segment", test.dtype)
		}
	}
	for _, dtype := range []DType{Float32, Float64, Float16, BFloat16, Float8E4M3FN, Float8E5M2, Complex64} {
		if err := s.Fill(nil, dtype, nan); err != nil {
			t.Errorf("NaN for %v: %v", dtype, err)
		}
	}
}

// The rest compares with testdata/floats.txt, which test/float_vectors.py makes and explains.

func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}

func TestFloatsAreThoseOfNumPy(t *testing.T) {
	file, err := os.Open("testdata/floats.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	formats := map[string]*floatFormat{"float16": &f16, "bfloat16": &bf16, "float8_e4m3fn": &f8e4m3fn, "float8_e5m2": &f8e5m2}
	lines := bufio.NewScanner(file)
	n := 0
	for ; lines.Scan(); n++ {
		var name, what string
		var block, want uint64
		if _, err := fmt.Sscanf(lines.Text(), "%s %s %d %x", &name, &what, &block, &want); err != nil || formats[name] == nil {
			t.Fatalf("%q: %v", lines.Text(), err)
		}
		if got := floatChecksum(formats[name], what, block); got != want {
			t.Errorf("%s %s %d: other results than NumPy's", name, what, block)
		}
	}
	if want := 2*(3*256+2*64) + 2*(3+2*64); n != want || lines.Err() != nil {
		t.Errorf("%d lines, want %d (%v)", n, want, lines.Err())
	}
}

// floatChecksum returns the checksum of a block's results.
func floatChecksum(f *floatFormat, what string, block uint64) (sum uint64) {
	count := uint64(0)
	add := func(result uint32) {
		sum += mix(count<<32 | uint64(result))
		count++
	}
	encode := func(number float64) {
		bits := f.encode(number)
		switch {
		case bits&(f.sign-1) <= f.max || f.overflow != f.nan && bits&(f.sign-1) == f.overflow:
			add(bits)
		case bits&f.sign != 0:
			add(math.MaxUint32)
		default:
			add(math.MaxUint32 - 1)
		}
	}
	around := func(number float64) {
		if what == "encode32" {
			bits := math.Float32bits(float32(number))
			for _, near := range []uint32{bits, max(bits, 1) - 1, bits + 1} {
				encode(widen(math.Float32frombits(near)))
			}
		} else {
			bits := math.Float64bits(number)
			for _, near := range []uint64{bits, max(bits, 1) - 1, bits + 1} {
				encode(math.Float64frombits(near))
			}
		}
	}
	if strings.HasPrefix(what, "random") {
		for i := 65536 * block; i < 65536*(block+1); i++ {
			bits := mix((i + 1) * 0x9E3779B97F4A7C15)
			if what == "random32" {
				encode(widen(math.Float32frombits(uint32(bits))))
			} else {
				exponent := bits>>52%300 + 1023 - 150
				encode(math.Float64frombits(bits&0x800FFFFFFFFFFFFF | exponent<<52))
			}
		}
		return sum
	}
	finite := func(f float64) bool { return !math.IsNaN(f) && !math.IsInf(f, 0) }
	for i := uint32(256 * block); i < uint32(256*(block+1)); i++ {
		number := widen(f.decode(i))
		switch {
		case what == "decode" && !math.IsNaN(number):
			add(math.Float32bits(float32(number)))
		case what == "decode" && math.Signbit(number):
			add(math.MaxUint32)
		case what == "decode":
			add(math.MaxUint32 - 1)
		case math.IsNaN(number):
		default:
			around(number)
			if finite(number) {
				other := widen(f.decode(i + 1))
				if !finite(other) {
					other = widen(f.decode(i - 1))
				}
				around(number + math.Copysign(math.Abs(other-number)/2, number))
			}
		}
	}
	return sum
}

func TestSmallFloats(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	for _, test := range []struct {
		got  fmt.Stringer
		bits uint16
		want string // the text
	}{
		{ToF16(1), 0x3C00, "1"}, {ToF16(0.1), 0x2E66, "0.1"}, {ToF16(65504), 0x7BFF, "65500"}, {ToF16(65520), 0x7C00, "+Inf"},
		{ToF16(-inf), 0xFC00, "-Inf"}, {ToF16(nan), 0x7E00, "NaN"}, {ToF16(5.9604645e-08), 1, "6e-08"},
		{ToBF16(3.14159), 0x4049, "3.14"}, {ToBF16(inf), 0x7F80, "+Inf"}, {ToBF16(math.MaxFloat32), 0x7F80, "+Inf"},
		{ToBF16(nan), 0x7FC0, "NaN"}, {ToBF16(1e-40), 1, "9e-41"},
		{ToF8E4M3FN(448), 0x7E, "450"}, {ToF8E4M3FN(464), 0x7E, "450"}, {ToF8E4M3FN(465), 0x7F, "NaN"}, {ToF8E4M3FN(-inf), 0xFF, "NaN"},
		{ToF8E4M3FN(-0.001), 0x81, "-0.002"}, {ToF8E4M3FN(0), 0, "0"},
		{ToF8E5M2(0.3), 0x35, "0.3"}, {ToF8E5M2(57344), 0x7B, "60000"}, {ToF8E5M2(inf), 0x7C, "+Inf"}, {ToF8E5M2(nan), 0x7E, "NaN"},
	} {
		if bits := uint16(reflect.ValueOf(test.got).Uint()); bits != test.bits || test.got.String() != test.want {
			t.Errorf("%T: %#x, %v, want %#x, %s", test.got, bits, test.got, test.bits, test.want)
		}
	}
	// A NaN keeps what it carries, except that it becomes quiet; and every number has its own text.
	for _, f := range []*floatFormat{&f16, &bf16, &f8e4m3fn, &f8e5m2} {
		texts := map[string]uint32{}
		for bits := range 2 * f.sign {
			number := f.decode(bits)
			want := bits
			if number != number {
				want |= f.nan
			}
			if got := f.encode(widen(number)); got != want {
				t.Errorf("%#x becomes %v, and that %#x", bits, number, got)
			}
			text := f.text(bits)
			if other, taken := texts[text]; taken && number == number {
				t.Errorf("%#x and %#x are both %s", other, bits, text)
			}
			texts[text] = bits
		}
	}
}
