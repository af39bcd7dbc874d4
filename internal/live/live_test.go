package live

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/judemap/judemap"
)

// A machine of headers, and a clock that the test moves on.
type machine struct {
	time    time.Time
	headers map[string]Header
	errs    map[string]error
}

func (m *machine) sampler() *Sampler {
	s := NewSampler()
	s.now = func() time.Time { return m.time }
	s.list = func() (names []string, err error) {
		for name := range m.headers {
			names = append(names, name)
		}
		for name := range m.errs {
			names = append(names, name)
		}
		return names, nil
	}
	s.stat = func(name string) (Header, error) { return m.headers[name], m.errs[name] }
	return s
}

func age(seconds float64) *float64 { return &seconds }

// Rates are those since the sample before, ages are since a commit was noticed, and another file of the same name begins
// anew.
func TestSample(t *testing.T) {
	tensor := Header{File: judemap.FileID{Device: 1, Index: 1}, Kind: "segment", DType: "uint8", Shape: []int{10}, Bytes: 10,
		Version: 8, Capacity: 16, Writer: judemap.WriterOther}
	remade := judemap.FileID{Device: 1, Index: 2}
	row := Row{Name: "a", Kind: "segment", DType: "uint8", Shape: []int{10}, Bytes: 10, Version: 8, Capacity: 16, Writer: "other"}
	with := func(h Header, change func(h *Header)) Header { change(&h); return h }
	withRow := func(r Row, change func(r *Row)) Row { change(&r); return r }
	m := &machine{time: time.Unix(1000, 0), headers: map[string]Header{}}
	s := m.sampler()
	for _, step := range []struct {
		what    string
		seconds float64 // since the step before
		header  Header
		err     error
		want    []Row
	}{
		{"seen first", 0, tensor, nil, []Row{withRow(row, func(r *Row) { r.Age, r.AgeAtLeast = age(0), true })}},
		{"nothing new", 2, tensor, nil, []Row{withRow(row, func(r *Row) { r.Age, r.AgeAtLeast = age(2), true })}},
		{"5 commits", 2, with(tensor, func(h *Header) { h.Version = 18 }), nil, []Row{withRow(row, func(r *Row) {
			r.Version, r.CommitsPerSecond, r.BytesPerSecond, r.Age = 18, 2.5, 25, age(0)
		})}},
		{"a commit going on", 0.5, with(tensor, func(h *Header) {
			h.Version, h.Busy, h.Problem, h.DType, h.Shape, h.Bytes = 21, true, "being written", "", nil, 0
		}), nil, []Row{withRow(row, func(r *Row) { r.Version, r.CommitsPerSecond, r.BytesPerSecond, r.Age = 21, 2, 20, age(0) })}},
		{"whose writer died", 1, with(tensor, func(h *Header) {
			h.Version, h.Busy, h.Problem, h.DType, h.Shape, h.Bytes, h.Writer = 21, true, "half written", "", nil, 0, judemap.WriterDied
		}), nil, []Row{withRow(row, func(r *Row) { r.Version, r.Age, r.Writer, r.Problem = 21, age(1), "died", "half written" })}},
		{"remade", 1, with(tensor, func(h *Header) { h.File, h.Version = remade, 100 }), nil,
			[]Row{withRow(row, func(r *Row) { r.Version, r.Age, r.AgeAtLeast = 100, age(0), true })}},
		{"remade with the number of the old one", 1, with(tensor, func(h *Header) { h.File, h.Version = remade, 2 }), nil,
			[]Row{withRow(row, func(r *Row) { r.Version, r.Age, r.AgeAtLeast = 2, age(0), true })}},
		{"the clock stands still", 0, with(tensor, func(h *Header) { h.File, h.Version = remade, 4 }), nil,
			[]Row{withRow(row, func(r *Row) { r.Version, r.Age = 4, age(0) })}},
		{"not permitted", 1, Header{}, fs.ErrPermission, []Row{{Name: "a", Problem: "not permitted"}}},
		{"cut short", 1, Header{}, fmt.Errorf("%w: short", judemap.ErrCorrupt), []Row{{Name: "a", Problem: "corrupt"}}},
		{"removed since it was listed", 1, Header{}, fs.ErrNotExist, []Row{}},
		{"empty", 1, Header{Kind: "segment", Problem: "empty", Capacity: 16}, nil,
			[]Row{{Name: "a", Kind: "segment", Problem: "empty", Capacity: 16, Writer: "none"}}},
	} {
		m.time = m.time.Add(time.Duration(step.seconds * 1e9))
		m.headers, m.errs = map[string]Header{"a": step.header}, map[string]error{}
		if step.err != nil {
			m.headers, m.errs = nil, map[string]error{"a": step.err}
		}
		sample, err := s.Sample()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(step.want, sample.Rows); diff != "" {
			t.Errorf("%s: %s", step.what, diff)
		}
		if want := time.Duration(step.seconds * 1e9); sample.Interval != want {
			t.Errorf("%s: an interval of %v, want %v", step.what, sample.Interval, want)
		}
	}
	m.headers = map[string]Header{"a": tensor}
	for range 2 {
		if _, err := s.Sample(); err != nil {
			t.Fatal(err)
		}
	}
	s.Rest()
	m.time = m.time.Add(time.Hour)
	m.headers = map[string]Header{"a": with(tensor, func(h *Header) { h.Version = 1000 })}
	sample, err := s.Sample()
	if err != nil {
		t.Fatal(err)
	}
	if r := sample.Rows[0]; sample.Interval != 0 || r.CommitsPerSecond != 0 || *r.Age != 0 || r.AgeAtLeast {
		t.Errorf("after a rest: %+v", r)
	}
	m.headers, m.errs = nil, nil
	if sample, err := s.Sample(); err != nil || len(sample.Rows) != 0 || len(s.tracks) != 0 {
		t.Errorf("%v, %v, and %d remembered of nothing", sample, err, len(s.tracks))
	}
	s.list = func() ([]string, error) { return nil, errors.ErrUnsupported }
	if _, err := s.Sample(); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("%v where nothing can be listed", err)
	}
}

// A stream's row has its readers, of whom dead ones miss nothing.
func TestStreamRow(t *testing.T) {
	h := Header{Version: 20, Slots: 4, EveryFrame: true, Readers: []judemap.ReaderInfo{
		{Number: 0, Next: 22, Held: 1}, {Number: 1, Next: 14, Held: 2}, {Number: 2, Next: 2, Held: 1, Dead: true}, {Number: 3},
	}}
	want := &StreamRow{Slots: 4, EveryFrame: true, Readers: 4, Dead: 1, Held: 4, Missed: 4}
	if diff := cmp.Diff(want, streamRow(&h)); diff != "" {
		t.Error(diff)
	}
}

func TestSort(t *testing.T) {
	rows := []Row{
		{Name: "d", BytesPerSecond: 1, CommitsPerSecond: 5, Writer: "other", Age: age(1), StreamRow: &StreamRow{Readers: 1, Missed: 3}},
		{Name: "c", BytesPerSecond: 7, CommitsPerSecond: 2, Writer: "died", Age: age(3), AgeAtLeast: true},
		{Name: "b", Writer: "none"},
		{Name: "a", BytesPerSecond: 7, CommitsPerSecond: 3, Writer: "none", Age: age(2), StreamRow: &StreamRow{Readers: 2}},
	}
	for order, want := range map[string]string{"bytes": "acdb", "commits": "dacb", "age": "dacb", "readers": "adbc", "missed": "dabc",
		"writer": "cabd", "name": "abcd"} {
		if err := Sort(rows, order); err != nil {
			t.Fatal(err)
		}
		var got strings.Builder
		for _, r := range rows {
			got.WriteString(r.Name)
		}
		if got.String() != want {
			t.Errorf("by %s: %s, want %s", order, &got, want)
		}
	}
	for _, order := range Orders {
		if err := Sort(nil, order); err != nil {
			t.Error(err)
		}
	}
	if err := Sort(rows, "size"); err == nil {
		t.Error("rows were sorted by nothing")
	}
}

// nameOf returns a name for a segment of this test, which is removed with the test's end. The test is skipped where
// segments can't be shared.
func nameOf(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("judemap-live-%d-%s", os.Getpid(), strings.ReplaceAll(t.Name(), "/", "-"))
	s, err := judemap.Create(name, 1)
	if errors.Is(err, judemap.ErrUnsupported) {
		t.Skipf("SKIP: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	if err := judemap.Remove(name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = judemap.Remove(name) })
	return name
}

// rowOf returns the row of that name in a sample, or nil.
func rowOf(t *testing.T, s *Sampler, name string) *Row {
	t.Helper()
	sample, err := s.Sample()
	if err != nil {
		t.Fatal(err)
	}
	for i := range sample.Rows {
		if sample.Rows[i].Name == name {
			return &sample.Rows[i]
		}
	}
	return nil
}

// Real segments and streams come, change, are made anew, and go.
func TestSampleShared(t *testing.T) {
	name := nameOf(t)
	s := NewSampler()
	if r := rowOf(t, s, name); r != nil {
		t.Fatalf("%+v of what is not there", r)
	}
	segment, err := judemap.Create(name, 64)
	if err != nil {
		t.Fatal(err)
	}
	if r := rowOf(t, s, name); r == nil || r.Problem != "empty" || r.Age != nil || r.Writer != "none" {
		t.Errorf("an empty segment is %+v", r)
	}
	for range 3 {
		if err := segment.Fill([]int{2, 4}, judemap.Float32, 1); err != nil {
			t.Fatal(err)
		}
	}
	r := rowOf(t, s, name)
	if r == nil || r.CommitsPerSecond <= 0 || r.BytesPerSecond != 32*r.CommitsPerSecond || r.DType != "float32" ||
		!cmp.Equal(r.Shape, []int{2, 4}) || r.Writer != "other" || r.Version != 6 || r.Bytes != 32 || r.Capacity != 64 ||
		r.Age == nil || r.AgeAtLeast || r.StreamRow != nil {
		t.Errorf("after three commits: %+v", r)
	}
	segment.Close()
	if err := judemap.Remove(name); err != nil {
		t.Fatal(err)
	}

	stream, err := judemap.CreateStream(name, 4, 64, judemap.WithEveryFrame())
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	reader, err := stream.Reader()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	for range 3 {
		if err := stream.Fill(t.Context(), []int{3}, judemap.Int16, 1); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := reader.Next(t.Context()); err != nil {
		t.Fatal(err)
	}
	r = rowOf(t, s, name)
	if r == nil || r.Kind != "stream" || r.CommitsPerSecond != 0 || r.DType != "int16" || r.Bytes != 6 || !r.AgeAtLeast {
		t.Fatalf("a stream of the same name is %+v", r)
	}
	if diff := cmp.Diff(&StreamRow{Slots: 4, EveryFrame: true, Readers: 1, Held: 1, Missed: 2}, r.StreamRow); diff != "" {
		t.Error(diff)
	}
	if err := judemap.Remove(name); err != nil {
		t.Fatal(err)
	}
	if r := rowOf(t, s, name); r != nil {
		t.Errorf("%+v of what was removed", r)
	}
}

// BenchmarkSample samples a thousand segments.
func BenchmarkSample(b *testing.B) {
	base := nameOf(b)
	for i := range 1000 {
		name := fmt.Sprintf("%s-%d", base, i)
		s, err := judemap.Create(name, 4096)
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Fill([]int{1024}, judemap.Float32, 1); err != nil {
			b.Fatal(err)
		}
		s.CloseWait()
		defer judemap.Remove(name)
	}
	s := NewSampler()
	for b.Loop() {
		sample, err := s.Sample()
		if err != nil || len(sample.Rows) < 1000 {
			b.Fatal(len(sample.Rows), err)
		}
	}
}
