package judemap

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The dumps in testdata/golden were made with the Node addon jude-map; manifest.json says how.

type goldenStep struct {
	Op      string
	Shape   []int
	DType   string
	Pattern string
	W       int
	Value   float64
}

type goldenFile struct {
	File     string
	Capacity int
	Steps    []goldenStep
}

func goldenFiles(t *testing.T) []goldenFile {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "golden", "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var files []goldenFile
	if err := json.Unmarshal(text, &files); err != nil {
		t.Fatal(err)
	}
	return files
}

// data returns the bytes that the step stores.
func (g goldenStep) data(t *testing.T, dtype DType) []byte {
	t.Helper()
	elements := 1
	for _, n := range g.Shape {
		elements *= n
	}
	var data []byte
	for i := range elements {
		n := (i*7 + g.W*13 + 1) % 120
		switch {
		case g.Op == "fill":
		case g.Pattern == "((i*7+w*13+1)%120)&1":
			n &= 1
		case g.Pattern != "(i*7+w*13+1)%120":
			t.Fatalf("unknown pattern %q", g.Pattern)
		}
		value := float64(n)
		if g.Op == "fill" {
			value = g.Value
		}
		switch dtype {
		case Float32:
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(float32(value)))
		case Float64:
			data = binary.LittleEndian.AppendUint64(data, math.Float64bits(value))
		case Int32:
			data = binary.LittleEndian.AppendUint32(data, uint32(int32(value)))
		case Int64:
			data = binary.LittleEndian.AppendUint64(data, uint64(int64(value)))
		case Uint16, Int16:
			data = binary.LittleEndian.AppendUint16(data, uint16(int32(value)))
		default:
			data = append(data, byte(int32(value)))
		}
	}
	return data
}

func TestGolden(t *testing.T) {
	for _, file := range goldenFiles(t) {
		t.Run(file.File, func(t *testing.T) {
			dump, err := os.ReadFile(filepath.Join("testdata", "golden", file.File))
			if err != nil {
				t.Fatal(err)
			}

			// The same steps give the same bytes.
			s := newSegment(t, file.Capacity)
			var last seen
			for _, step := range file.Steps {
				dtype, err := ParseDType(step.DType)
				if err != nil {
					t.Fatal(err)
				}
				data := step.data(t, dtype)
				switch step.Op {
				case "write":
					err = s.Write(step.Shape, dtype, data)
				case "fill":
					err = s.Fill(step.Shape, dtype, step.Value)
				default:
					t.Fatalf("unknown op %q", step.Op)
				}
				if err != nil {
					t.Fatal(err)
				}
				last = seen{step.Shape, dtype, data, s.Version(), true}
			}
			if diff := cmp.Diff(dump, memory(s)); diff != "" {
				t.Errorf("bytes (-the addon's +ours):\n%s", diff)
			}

			// The dump reads back as what was written.
			loaded := newSegment(t, file.Capacity)
			copy(memory(loaded), dump)
			for name, read := range reads {
				if len(file.Steps) == 0 {
					if name == "Read" || name == "ReadCopy" || name == "TryRead" || name == "ReadInto" {
						if _, err := read(loaded); !errors.Is(err, ErrEmpty) {
							t.Errorf("%s: %v, want ErrEmpty", name, err)
						}
					}
					continue
				}
				got, err := read(loaded)
				if err != nil {
					t.Errorf("%s: %v", name, err)
					continue
				}
				if diff := cmp.Diff(last, see(&got)); diff != "" {
					t.Errorf("%s (-want +got):\n%s", name, diff)
				}
			}
		})
	}
}
