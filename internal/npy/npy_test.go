package npy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime/metrics"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/judemap/judemap"
)

// An array is what a file has.
type array struct {
	Shape []int
	DType judemap.DType
	Data  []byte
}

// read reads a file, once with its length known, and once without, from a reader that gives a byte at a time.
func read(file string) (array, error) {
	h, err := ReadHeader(strings.NewReader(file), int64(len(file)))
	var a array
	if err == nil {
		in := strings.NewReader(file[h.Start:])
		a.Shape, a.DType = h.Shape, h.DType
		a.Data, err = h.ReadElements(in)
	}
	slow := iotest.OneByteReader(strings.NewReader(file))
	streamed, streamErr := ReadHeader(slow, -1)
	var data []byte
	if streamErr == nil {
		data, streamErr = streamed.ReadElements(slow)
	}
	if (err == nil) != (streamErr == nil) || !bytes.Equal(a.Data, data) {
		return a, fmt.Errorf("read as a stream: %v, %v; else %v, %v", data, streamErr, a.Data, err)
	}
	return a, errors.Join(err, streamErr)
}

// file returns a file of a version of the format.
func file(major byte, header, data string) string {
	start := []byte{magic[0], 'N', 'U', 'M', 'P', 'Y', major, 0}
	if major == 1 {
		start = binary.LittleEndian.AppendUint16(start, uint16(len(header)))
	} else {
		start = binary.LittleEndian.AppendUint32(start, uint32(len(header)))
	}
	return string(start) + header + data
}

func header(descr, order, shape string) string {
	return fmt.Sprintf("{'descr': '%s', 'fortran_order': %s, 'shape': %s, }\n", descr, order, shape)
}

func TestRead(t *testing.T) {
	for _, test := range []struct {
		name, file string
		want       array
	}{
		{"scalar", file(1, header("|u1", "False", "()"), "7"), array{[]int{}, judemap.Uint8, []byte("7")}},
		{"row", file(1, header("<i2", "False", "(3,)"), "aAbBcC"), array{[]int{3}, judemap.Int16, []byte("aAbBcC")}},
		{"version 2.0", file(2, header("|i1", "False", "(2, 1)"), "ab"), array{[]int{2, 1}, judemap.Int8, []byte("ab")}},
		{"version 3.0", file(3, header("<f2", "False", "(1,)"), "ab"), array{[]int{1}, judemap.Float16, []byte("ab")}},
		{"eight dimensions", file(1, header("|u1", "False", "(1, 1, 1, 1, 1, 1, 1, 2)"), "ab"),
			array{[]int{1, 1, 1, 1, 1, 1, 1, 2}, judemap.Uint8, []byte("ab")}},
		{"empty", file(1, header("<f4", "False", "(0, 3)"), ""), array{[]int{0, 3}, judemap.Float32, []byte{}}},
		{"empty and column-major", file(1, header("<f4", "True", "(3, 0)"), ""), array{[]int{3, 0}, judemap.Float32, []byte{}}},
		{"big-endian", file(1, header(">u4", "False", "(2,)"), "abcdefgh"), array{[]int{2}, judemap.Uint32, []byte("dcbahgfe")}},
		{"big-endian and complex", file(1, header(">c8", "False", "(1,)"), "abcdefgh"), array{[]int{1}, judemap.Complex64, []byte("dcbahgfe")}},
		{"big-endian bytes", file(1, header(">u1", "False", "(2,)"), "ab"), array{[]int{2}, judemap.Uint8, []byte("ab")}},
		{"native", file(1, header("=f4", "False", "(1,)"), "abcd"), array{[]int{1}, judemap.Float32, []byte("abcd")}},
		{"column-major", file(1, header("<i2", "True", "(2, 3)"), "a1d4b2e5c3f6"), array{[]int{2, 3}, judemap.Int16, []byte("a1b2c3d4e5f6")}},
		{"column-major and big-endian", file(1, header(">i2", "True", "(2, 2)"), "1a3c2b4d"), array{[]int{2, 2}, judemap.Int16, []byte("a1b2c3d4")}},
		{"bools", file(1, header("|b1", "False", "(3,)"), "\x00\x01\xff"), array{[]int{3}, judemap.Bool, []byte{0, 1, 1}}},
		{"bfloat16 by name", file(1, header("bfloat16", "False", "(1,)"), "ab"), array{[]int{1}, judemap.BFloat16, []byte("ab")}},
		{"bfloat16 as saved", file(1, header("<V2", "False", "(1,)"), "ab"), array{[]int{1}, judemap.BFloat16, []byte("ab")}},
		{"bfloat16, big-endian", file(1, header(">V2", "False", "(1,)"), "ab"), array{[]int{1}, judemap.BFloat16, []byte("ba")}},
		{"float8_e5m2 as saved", file(1, header("<f1", "False", "(1,)"), "a"), array{[]int{1}, judemap.Float8E5M2, []byte("a")}},
		{"float8_e4m3fn", file(1, header("float8_e4m3fn", "False", "(1,)"), "a"), array{[]int{1}, judemap.Float8E4M3FN, []byte("a")}},
		{"another order", file(1, "{'shape':(2,),\"fortran_order\":False,'descr':\"|u1\"}", "ab"), array{[]int{2}, judemap.Uint8, []byte("ab")}},
		{"spaces", file(1, " {\n'descr' :\t'|u1' , 'fortran_order': False, 'shape' : ( 2 ,1 , ) , }   ", "ab"), array{[]int{2, 1}, judemap.Uint8, []byte("ab")}},
		{"much padding", file(2, header("|u1", "False", "(1,)")+strings.Repeat(" ", 60000), "a"), array{[]int{1}, judemap.Uint8, []byte("a")}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := read(test.file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestReadRefuses(t *testing.T) {
	f4 := header("<f4", "False", "(2,)")
	for _, test := range []struct{ name, file, want string }{
		{"nothing", "", "it is no NumPy file: it has 0 bytes"},
		{"text", "some text that is long enough", `it is no NumPy file: it begins with "some t"`},
		{"magic only", magic, "it has 6 bytes"},
		{"version 0.0", file(0, f4, "12345678"), "version 0.0 of NumPy's format"},
		{"version 1.1", strings.Replace(file(1, f4, "12345678"), "\x01\x00", "\x01\x01", 1), "version 1.1 of NumPy's format"},
		{"version 4.0", file(4, f4, "12345678"), "version 4.0 of NumPy's format"},
		{"cut in the header's length", file(2, f4, "")[:11], "it ends in the length of its NumPy header"},
		{"cut header", file(1, f4, "")[:20], "its NumPy header, after 10 of 58 bytes"},
		{"huge header", file(2, "", "")[:8] + "\xff\xff\xff\xff", "claims 4294967295 bytes, and 65535 are the most"},
		{"long header", file(3, f4+strings.Repeat(" ", 1<<16-len(f4)), "12345678"), "claims 65536 bytes"},
		{"no text", file(1, "", ""), `"{" is expected`},
		{"no dictionary", file(1, "hello", ""), `"{" is expected, at "hello"`},
		{"no end", file(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)", "12345678"), `"}" is expected, at ""`},
		{"no end of a text", file(1, "{'descr", ""), "and its end"},
		{"two ends", file(1, strings.Replace(f4, "}", "}}", 1), "12345678"), `the header's end is expected, at "}`},
		{"no shape", file(1, "{'descr': '<f4', 'fortran_order': False}", ""), "there is no 'shape'"},
		{"no order", file(1, "{'descr': '<f4', 'shape': (2,)}", "12345678"), "there is no 'fortran_order'"},
		{"no type", file(1, "{'fortran_order': False, 'shape': (2,)}", "12345678"), "there is no 'descr'"},
		{"no key", file(1, "{}", ""), "there is no 'descr'"},
		{"key twice", file(1, "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", "12345678"), `a second "descr"`},
		{"key too many", file(1, strings.Replace(f4, "}", "'order': 'C'}", 1), "12345678"), `an unknown key, "order"`},
		{"no comma", file(1, strings.Replace(f4, "',", "'", 1), "12345678"), `"}" is expected`},
		{"key without quotes", file(1, strings.Replace(f4, "'descr'", "descr", 1), "12345678"), "a text in quotes is expected"},
		{"escaped", file(1, strings.Replace(f4, "<", `\x3c`, 1), "12345678"), "plain characters"},
		{"escape code", file(1, strings.Replace(f4, "<", "\x1b", 1), "12345678"), "plain characters"},
		{"order as number", file(1, header("<f4", "0", "(2,)"), "12345678"), `True or False is expected, at "0`},
		{"shape is no tuple", file(1, header("<f4", "False", "(2)"), "12345678"), "a tuple is expected"},
		{"shape is a number", file(1, header("<f4", "False", "2"), "12345678"), `"(" is expected, at "2`},
		{"shape of text", file(1, header("<f4", "False", "(a,)"), "12345678"), `a dimension is expected, at "a,)`},
		{"shape of a comma", file(1, header("<f4", "False", "(,)"), "1234"), `a dimension is expected, at ",)`},
		{"shape with a fraction", file(1, header("<f4", "False", "(2.0,)"), "12345678"), `")" is expected, at ".0`},
		{"shape with a zero before", file(1, header("<f4", "False", "(02,)"), "12345678"), `a dimension is expected, at "02`},
		{"shape that is cut", file(1, header("<f4", "False", "(2, "), "12345678"), "a dimension is expected"},
		{"negative shape", file(1, header("<f4", "False", "(-1,)"), ""), `a negative dimension, at "-1`},
		{"large dimension", file(1, header("<f4", "False", "(9223372036854775808,)"), ""), `a dimension that overflows, at "92`},
		{"overflow", file(1, header("<f4", "True", "(2147483647, 2147483647, 2147483647)"), ""), "overflows"},
		{"no int", file(1, header("<f4", "True", "(2147483647, 2147483647)"), ""), "overflows"},
		{"nine dimensions", file(1, header("|u1", "False", "(1, 1, 1, 1, 1, 1, 1, 1, 1)"), "1"), "9 dimensions, and a tensor 8 at most"},
		{"short", file(1, f4, "1234567"), "7 bytes of elements, and [2] of float32 takes 8"},
		{"long", file(1, f4, "123456789"), "9 bytes of elements, and [2] of float32 takes 8"},
		{"no byte order", file(1, header("f4", "False", "(2,)"), "12345678"), `its elements are "f4"`},
		{"byte order of a name", file(1, header("<bfloat16", "False", "(2,)"), "1234"), `its elements are "<bfloat16"`},
		{"other float8", file(1, header("<V1", "False", "(1,)"), "1"), "which one is not in the file"},
		{"no type of elements", file(1, header("|V2", "False", "(1,)"), "12"), `its elements are "|V2"`},
		{"object", file(1, header("|O", "False", "(1,)"), ""), `its elements are "|O"`},
		{"dates", file(1, header("<M8[ns]", "False", "(1,)"), "12345678"), `its elements are "<M8[ns]"`},
		{"long complex", file(1, header("<c16", "False", "(1,)"), "1234567812345678"), `its elements are "<c16"`},
		{"fields", file(1, "{'descr': [('a', '<f4'), ('b', '<i4')], 'fortran_order': False, 'shape': (1,), }", "12345678"),
			`its elements are "[('a', '<f4'), ('b', '<i4')]`},
		{"nested fields", file(1, "{'descr': ('<f4', (2,)), 'fortran_order': False, 'shape': (1,), }", "12345678"), `its elements are "('<f4', (2,))`},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := ReadHeader(strings.NewReader(test.file), int64(len(test.file))); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
			if _, err := read(test.file); err == nil {
				t.Error("it is read as a stream")
			}
		})
	}
}

// A stream that ends early or goes on is refused with what came of it, and a failure of it is told.
func TestReadStreamRefuses(t *testing.T) {
	start := file(1, header("<f8", "False", "(1000, 1000)"), "")
	fails := errors.New("out of paper")
	for _, test := range []struct {
		name string
		in   io.Reader
		want string
	}{
		{"early end", strings.NewReader(start + strings.Repeat("x", 100_000)), "ends after 100000 bytes of elements, and [1000 1000] of float64 takes 8000000"},
		{"no elements", strings.NewReader(start), "ends after 0 bytes of elements"},
		{"no end", io.MultiReader(strings.NewReader(start), zeros{}), "more bytes of elements than its shape: [1000 1000] of float64 takes 8000000"},
		{"failure in the magic", iotest.ErrReader(fails), "out of paper"},
		{"failure in the header", io.MultiReader(strings.NewReader(start[:40]), iotest.ErrReader(fails)), "out of paper"},
		{"failure in the elements", io.MultiReader(strings.NewReader(start+"x"), iotest.ErrReader(fails)), "out of paper"},
		{"failure at the end", io.MultiReader(strings.NewReader(start+strings.Repeat("x", 8_000_000)), iotest.ErrReader(fails)), "out of paper"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h, err := ReadHeader(test.in, -1)
			if err == nil {
				_, err = h.ReadElements(test.in)
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// What a file claims to have takes no memory before it has come.
func TestReadClaims(t *testing.T) {
	huge := header("<f8", "False", "(1000000, 250)") // 2 GB
	for _, claim := range []string{
		file(1, huge, ""), file(1, huge, strings.Repeat("x", 1000)),
		file(2, "", "")[:8] + "\xff\xff\xff\x7f", file(2, "", "")[:8] + "\xff\xff\x00\x00",
	} {
		before := allocated()
		if _, err := read(claim); err == nil {
			t.Errorf("%.100q is read", claim)
		}
		if bytes := allocated() - before; bytes > 1<<20 {
			t.Errorf("%.100q takes %d bytes of memory", claim, bytes)
		}
	}
}

// allocated returns the bytes that were allocated since the program began.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// What is written is a file whose elements are aligned, and is read as it was.
func TestWrite(t *testing.T) {
	for dtype := judemap.DType(0); dtype.Size() != 0; dtype++ {
		for _, shape := range [][]int{{}, {5}, {0}, {2, 3, 4}, {1, 1, 1, 1, 1, 1, 1, 2}, {1 << 30, 0, 1 << 30}} {
			elements := 1
			for _, n := range shape {
				elements *= n
			}
			want := array{shape, dtype, bytes.Repeat([]byte{1, 0, 0, 1, 1, 0, 1, 0}, elements)[:elements*dtype.Size()]}
			var out bytes.Buffer
			if err := Write(&out, want.Shape, want.DType, want.Data); err != nil {
				t.Fatal(err)
			}
			if start := out.Len() - len(want.Data); start%64 != 0 || start > 192 {
				t.Errorf("%v %v: the elements begin at byte %d", dtype, shape, start)
			}
			got, err := read(out.String())
			if err != nil {
				t.Fatalf("%v %v: %v", dtype, shape, err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%v %v: %s", dtype, shape, diff)
			}
		}
	}
	if err := Write(io.Discard, nil, 99, nil); err == nil || !strings.Contains(err.Error(), "DType(99)") {
		t.Errorf("a type that there is not: %v", err)
	}
	for length := range 2 {
		fails := failingWriter{after: length}
		if err := Write(&fails, []int{1}, judemap.Uint8, []byte{1}); err != io.ErrShortWrite {
			t.Errorf("a write that fails: %v", err)
		}
	}
}

// A failingWriter takes so many writes, and no more.
type failingWriter struct{ after int }

func (w *failingWriter) Write(p []byte) (int, error) {
	if w.after--; w.after < 0 {
		return 0, io.ErrShortWrite
	}
	return len(p), nil
}

func FuzzRead(f *testing.F) {
	for dtype := range names {
		for _, shape := range [][]int{{}, {0, 3}, {2, 3}, {1, 2, 1, 1, 1, 1, 1, 3}} {
			elements := 1
			for _, n := range shape {
				elements *= n
			}
			var out bytes.Buffer
			if err := Write(&out, shape, dtype, make([]byte, elements*dtype.Size())); err != nil {
				f.Fatal(err)
			}
			f.Add(out.Bytes())
			f.Add(bytes.Replace(out.Bytes(), []byte("False"), []byte("True "), 1))
			f.Add(bytes.Replace(out.Bytes(), []byte("'<"), []byte("'>"), 1))
		}
	}
	for major := range byte(3) {
		f.Add([]byte(file(major+1, header("|u1", "False", "(1,)"), "a")))
	}
	f.Add([]byte(file(1, header("<f8", "False", "(1000000, 250)"), "")))
	f.Fuzz(func(t *testing.T, file []byte) {
		before := allocated()
		a, err := read(string(file))
		if bytes := allocated() - before; bytes > uint64(1<<20+16*len(file)) {
			t.Errorf("a file of %d bytes takes %d bytes of memory", len(file), bytes)
		}
		if err != nil {
			if strings.Contains(err.Error(), "read as a stream") {
				t.Error(err)
			}
			return
		}
		var out bytes.Buffer
		if err := Write(&out, a.Shape, a.DType, a.Data); err != nil {
			t.Fatal(err)
		}
		again, err := read(out.String())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(a, again); diff != "" {
			t.Error(diff)
		}
	})
}
