// Package live says what goes on in all segments and streams of the machine: commits and bytes a second, the age of the
// last commit, readers, writers. A Sampler looks at their headers now and then, and a Source at one tensor.
//
// Nothing here is noticed by those who write and read: no lock is taken, and no place among a stream's readers.
package live

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/judemap/judemap"
)

// A Header is what the header of a segment or stream says at one time.
type Header struct {
	File       judemap.FileID
	Kind       string // "segment" or "stream"; "" if it can't be opened
	Problem    string // why it can't be opened, or shows no tensor
	Busy       bool   // the problem is a commit that goes on
	DType      string // of the tensor, or of a stream's newest frame; "" if there is none to be seen
	Shape      []int
	Bytes      int64 // of it
	Version    uint64
	Capacity   int64 // bytes of tensor that there is room for
	Writer     judemap.WriterState
	Slots      int // 0: it is no stream
	EveryFrame bool
	Readers    []judemap.ReaderInfo
}

// A Row is what is shown of a segment or stream. The JSON is that of `judemap ls`, with what only time tells.
type Row struct {
	Name     string `json:"name"`
	Kind     string `json:"kind,omitempty"`
	Problem  string `json:"problem,omitempty"`
	DType    string `json:"dtype,omitempty"`
	Shape    []int  `json:"shape,omitzero"`
	Version  uint64 `json:"version"`
	Bytes    int64  `json:"bytes"`
	Capacity int64  `json:"capacity"`
	Writer   string `json:"writer,omitempty"`

	CommitsPerSecond float64 `json:"commits_per_second"`
	BytesPerSecond   float64 `json:"bytes_per_second"`
	// Age is how many seconds ago the last commit was noticed. Where none was since the Sampler knows of it, it is at
	// least that long ago. Nil: nothing was ever committed.
	Age        *float64 `json:"age_seconds"`
	AgeAtLeast bool     `json:"age_at_least,omitempty"`

	*StreamRow
}

// A StreamRow is what only a stream has.
type StreamRow struct {
	Slots      int  `json:"slots"`
	EveryFrame bool `json:"every_frame"`
	Readers    int  `json:"readers"`
	Dead       int  `json:"dead_readers"` // of them
	Held       int  `json:"held_slots"`   // by all readers
	// Missed is how many frames were committed that the reader furthest behind has not taken yet. Where the newest frame
	// wins, all but the newest of them are lost to it.
	Missed uint64 `json:"missed"`
}

// A Sample is what was seen of all segments and streams at one time.
type Sample struct {
	Time     time.Time     `json:"time"`
	Interval time.Duration `json:"-"` // since the sample before; 0: this is the first, and all rates are 0
	Rows     []Row         `json:"rows"`
}

// Totals returns how many rows had commits since the sample before, and the sums of the rates.
func (s *Sample) Totals() (active int, commits, bytes float64) {
	for i := range s.Rows {
		if s.Rows[i].CommitsPerSecond > 0 {
			active++
		}
		commits += s.Rows[i].CommitsPerSecond
		bytes += s.Rows[i].BytesPerSecond
	}
	return active, commits, bytes
}

// A Sampler samples all segments and streams. Its methods are for one goroutine at a time.
type Sampler struct {
	list   func() ([]string, error)
	stat   func(name string) (Header, error)
	now    func() time.Time
	tracks map[string]*track
	last   time.Time // of the sample before; zero: there is none that counts
}

// A track is what is remembered of a segment or stream from one sample to the next.
type track struct {
	header  Header
	at      time.Time // when the header was read
	changed time.Time // when the version was found to be another; zero: not yet
	first   time.Time // when it was seen first
}

// NewSampler returns a Sampler that has seen nothing yet.
func NewSampler() *Sampler {
	return &Sampler{list: judemap.List, stat: Stat, now: time.Now, tracks: map[string]*track{}}
}

// Sample looks at all segments and streams once, in alphabetical order. The rates are those since the sample before: they
// are 0 in the first, and in the first sample of what is new, or was made anew under its old name.
//
// Errors: those of [judemap.List]. What can't be opened has a row that says why.
func (s *Sampler) Sample() (Sample, error) {
	names, err := s.list()
	if err != nil {
		return Sample{}, err
	}
	start := s.now()
	sample := Sample{Time: start, Rows: []Row{}}
	if !s.last.IsZero() {
		sample.Interval = start.Sub(s.last)
	}
	s.last = start
	tracks := make(map[string]*track, len(names))
	for _, name := range names {
		header, err := s.stat(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed since it was listed
		}
		if err != nil {
			header = Header{Problem: WhyNot(err)}
		}
		t, commits := next(s.tracks[name], header, s.now())
		if sample.Interval == 0 {
			commits = 0
		}
		tracks[name] = t
		sample.Rows = append(sample.Rows, t.row(name, commits))
	}
	s.tracks = tracks
	return sample, nil
}

// Rest says that there will be no sample for a while. The next one is like a first one but for the ages: its rates are 0,
// for those since the sample before would say nothing of now.
func (s *Sampler) Rest() { s.last = time.Time{} }

// next returns what is to be remembered after a look at a header, and the commits a second since the one before, which is
// nil if there was none.
func next(before *track, header Header, at time.Time) (t *track, commits float64) {
	t = &track{header: header, at: at, first: at}
	// A version that goes back is one of another file too: its number may be that of one that was removed.
	if before == nil || before.header.File != header.File || before.header.Kind != header.Kind ||
		before.header.Version > header.Version {
		return t, 0
	}
	t.first, t.changed = before.first, before.changed
	if header.Busy && header.DType == "" { // the tensor is most likely what it was
		t.header.DType, t.header.Shape, t.header.Bytes = before.header.DType, before.header.Shape, before.header.Bytes
		if t.header.DType != "" && header.Writer != judemap.WriterDied {
			t.header.Problem = ""
		}
	}
	if n := header.Version/2 - before.header.Version/2; n > 0 {
		t.changed = at
		if elapsed := at.Sub(before.at).Seconds(); elapsed > 0 {
			commits = float64(n) / elapsed
		}
	}
	return t, commits
}

func (t *track) row(name string, commits float64) Row {
	h := &t.header
	row := Row{Name: name, Kind: h.Kind, Problem: h.Problem, DType: h.DType, Shape: h.Shape, Version: h.Version, Bytes: h.Bytes,
		Capacity: h.Capacity, CommitsPerSecond: commits, BytesPerSecond: commits * float64(h.Bytes)}
	if h.Kind != "" {
		row.Writer = h.Writer.String()
	}
	if h.Version/2 > 0 {
		since := t.changed
		if row.AgeAtLeast = since.IsZero(); row.AgeAtLeast {
			since = t.first
		}
		age := t.at.Sub(since).Seconds()
		row.Age = &age
	}
	if h.Slots > 0 {
		row.StreamRow = streamRow(h)
	}
	return row
}

func streamRow(h *Header) *StreamRow {
	s := &StreamRow{Slots: h.Slots, EveryFrame: h.EveryFrame, Readers: len(h.Readers)}
	for _, r := range h.Readers {
		s.Held += r.Held
		if r.Dead {
			s.Dead++
			continue
		}
		if r.Next != 0 && r.Next <= h.Version { // 0: it joins
			s.Missed = max(s.Missed, (h.Version-r.Next)/2+1)
		}
	}
	return s
}

// Orders are what rows can be sorted by: each has the greatest first, but for "name" in alphabetical order, "age" with the
// youngest first, and "writer".
var Orders = []string{"bytes", "commits", "age", "readers", "missed", "writer", "name"}

// Sort sorts rows by one of Orders. Rows that are alike are sorted by their names.
func Sort(rows []Row, order string) error {
	var compare func(a, b *Row) int
	switch order {
	case "bytes":
		compare = func(a, b *Row) int {
			return cmp.Or(cmp.Compare(b.BytesPerSecond, a.BytesPerSecond), cmp.Compare(b.CommitsPerSecond, a.CommitsPerSecond))
		}
	case "commits":
		compare = func(a, b *Row) int { return cmp.Compare(b.CommitsPerSecond, a.CommitsPerSecond) }
	case "age":
		compare = func(a, b *Row) int { return compareAges(a, b) }
	case "readers":
		compare = func(a, b *Row) int { return cmp.Compare(b.readers(), a.readers()) }
	case "missed":
		compare = func(a, b *Row) int { return cmp.Compare(b.missed(), a.missed()) }
	case "writer":
		compare = func(a, b *Row) int { return cmp.Compare(a.Writer, b.Writer) }
	case "name":
		compare = func(a, b *Row) int { return 0 }
	default:
		return fmt.Errorf("rows can be sorted by %v, and not by %q", Orders, order)
	}
	slices.SortFunc(rows, func(a, b Row) int { return cmp.Or(compare(&a, &b), cmp.Compare(a.Name, b.Name)) })
	return nil
}

// compareAges has those first whose last commit is known, and those last that have none.
func compareAges(a, b *Row) int {
	rank := func(r *Row) int {
		switch {
		case r.Age == nil:
			return 2
		case r.AgeAtLeast:
			return 1
		}
		return 0
	}
	if rank(a) != rank(b) || a.Age == nil {
		return cmp.Compare(rank(a), rank(b))
	}
	return cmp.Compare(*a.Age, *b.Age)
}

func (r *Row) readers() int {
	if r.StreamRow == nil {
		return -1
	}
	return r.Readers
}

func (r *Row) missed() int64 {
	if r.StreamRow == nil {
		return -1
	}
	return int64(r.Missed)
}

// WhyNot says in a word or two why something can't be opened.
func WhyNot(err error) string {
	switch {
	case errors.Is(err, judemap.ErrCorrupt):
		return "corrupt"
	case errors.Is(err, judemap.ErrCapacity):
		return "too large"
	case errors.Is(err, fs.ErrPermission):
		return "not permitted"
	}
	return "not opened: " + err.Error()
}
