// Command peer is the Go side of test.js. It does what the lines of its input say, each a request in JSON, and answers each
// with a line.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"slices"
	"time"

	"github.com/judemap/judemap"
	"golang.org/x/sys/unix"
)

// A request is one thing to do.
type request struct {
	Op       string // a method of peer
	Name     string
	Capacity int
	Slots    int           // of a stream
	Foreign  bool          // made WithForeignWriters
	Poll     time.Duration // nanoseconds; 0: the default
	Shape    []int
	DType    string
	Data     []byte
	For      time.Duration // how long, in nanoseconds
	Count    int
	After    uint64 // a version
}

// An answer has what a request asked for.
type answer struct {
	Error   string `json:"error,omitempty"`
	Shape   []int  `json:"shape"`
	DType   string `json:"dtype"`
	Data    []byte `json:"data"`
	Version uint64 `json:"version"`
	Writer  string `json:"writer"`
	Count   int    `json:"count"` // commits, or tensors that were looked at
	Torn    int    `json:"torn"`
	Times   []int  `json:"times"` // from a commit to the tensor, in nanoseconds
}

// A peer has one segment or stream at a time.
type peer struct {
	segment *judemap.Segment
	stream  *judemap.Stream
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("peer: ")
	var p peer
	defer p.close()
	input := bufio.NewReader(os.Stdin)
	for {
		line, err := input.ReadBytes('\n')
		if err != nil {
			return // the test has ended
		}
		var r request
		if err := json.Unmarshal(line, &r); err != nil {
			log.Fatal(err)
		}
		a, err := p.do(r)
		if err != nil {
			a.Error = err.Error()
		}
		if err := json.NewEncoder(os.Stdout).Encode(a); err != nil {
			log.Fatal(err)
		}
	}
}

func (p *peer) close() {
	if p.segment != nil {
		_ = p.segment.Close()
	}
	if p.stream != nil {
		_ = p.stream.Close()
	}
	p.segment, p.stream = nil, nil
}

func (p *peer) do(r request) (a answer, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	switch r.Op {
	case "create", "open", "createStream":
		return a, p.open(r)
	case "close":
		p.close()
	case "write":
		return p.write(ctx, r)
	case "read":
		t, err := p.segment.ReadCopy(ctx)
		return answer{Shape: t.Shape(), DType: t.DType().String(), Data: t.Data(), Version: t.Version()}, err
	case "next":
		// The time to notice that the writer died included.
		_, err := p.segment.Next(ctx, r.After)
		return answer{Version: p.segment.Version()}, err
	case "writer":
		a.Writer = p.segment.Writer().String()
	case "flood":
		return p.flood(ctx, r)
	case "check":
		return p.check(ctx, r)
	case "latency":
		return p.latency(ctx, r)
	case "stamp":
		return a, p.stamp()
	default:
		return a, fmt.Errorf("unknown op %q", r.Op)
	}
	return a, nil
}

func (p *peer) open(r request) (err error) {
	p.close()
	var opts []judemap.Option
	if r.Poll != 0 {
		opts = append(opts, judemap.WithPollInterval(r.Poll))
	}
	if r.Foreign {
		opts = append(opts, judemap.WithForeignWriters())
	}
	switch r.Op {
	case "create":
		p.segment, err = judemap.Create(r.Name, r.Capacity, opts...)
	case "open":
		p.segment, err = judemap.Open(r.Name, opts...)
	case "createStream":
		p.stream, err = judemap.CreateStream(r.Name, r.Slots, r.Capacity, opts...)
	}
	return err
}

func (p *peer) write(ctx context.Context, r request) (a answer, err error) {
	dtype, err := judemap.ParseDType(r.DType)
	if err != nil {
		return a, err
	}
	if p.stream != nil {
		err = p.stream.Write(ctx, r.Shape, dtype, r.Data)
		return answer{Version: p.stream.Version()}, err
	}
	err = p.segment.Write(r.Shape, dtype, r.Data)
	return answer{Version: p.segment.Version()}, err
}

// The n-th commit of a flood, here and in test.js, is int32 [16 + n%200, 64], and every element is n.
const (
	columns  = 64
	mostRows = 16 + 199
)

func rows(n int32) int { return 16 + int(n)%200 }

// flood commits to a new segment or stream without a pause.
func (p *peer) flood(ctx context.Context, r request) (a answer, err error) {
	values := make([]int32, mostRows*columns)
	for end := time.Now().Add(r.For); time.Now().Before(end); {
		a.Count++
		n := int32(a.Count)
		elements := values[:rows(n)*columns]
		for i := range elements {
			elements[i] = n
		}
		shape := []int{rows(n), columns}
		if p.stream != nil {
			err = judemap.StreamSlice(ctx, p.stream, shape, elements)
		} else {
			err = judemap.WriteSlice(p.segment, shape, elements)
		}
		if err != nil {
			return a, err
		}
	}
	return a, nil
}

// whole says whether t is one commit of a flood.
func whole(t *judemap.Tensor) bool {
	values, err := judemap.Slice[int32](t)
	if err != nil || len(values) == 0 {
		return false
	}
	n := int32(t.Version() / 2)
	return slices.Equal(t.Shape(), []int{rows(n), columns}) && !slices.ContainsFunc(values, func(v int32) bool { return v != n })
}

// check looks at what a flood of the other side commits, by Next and by NextInto in turn.
func (p *peer) check(ctx context.Context, r request) (a answer, err error) {
	ctx, cancel := context.WithTimeout(ctx, r.For)
	defer cancel()
	buf := make([]byte, p.segment.ByteCapacity())
	for after := uint64(0); ; {
		t, err := p.segment.NextInto(ctx, after, buf)
		if err == nil {
			a.Count++
			if !whole(&t) {
				a.Torn++
			}
			after = t.Version()
			t, err = p.segment.Next(ctx, after)
		}
		if errors.Is(err, context.DeadlineExceeded) {
			return a, nil
		}
		if err != nil {
			return a, err
		}
		if whole := whole(&t); t.Valid() {
			a.Count++
			if !whole {
				a.Torn++
			}
		}
		after = t.Version()
	}
}

// latency waits for Count commits of an int64, the time that it was committed.
func (p *peer) latency(ctx context.Context, r request) (a answer, err error) {
	for after := r.After; len(a.Times) < r.Count; {
		t, err := p.segment.Next(ctx, after)
		if err != nil {
			return a, err
		}
		now := now()
		after = t.Version()
		at, err := judemap.Slice[int64](&t)
		if err != nil {
			return a, err
		}
		a.Times = append(a.Times, int(now-at[0]))
	}
	return a, nil
}

// stamp commits one of them, in a little while.
func (p *peer) stamp() error {
	time.Sleep(time.Millisecond + rand.N(2*time.Millisecond))
	return judemap.WriteSlice(p.segment, []int{1}, []int64{now()})
}

// now returns the nanoseconds of a clock that all processes of the machine share: process.hrtime is the same.
func now() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic(err) // every Linux has this clock
	}
	return t.Nano()
}
