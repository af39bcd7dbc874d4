package kserve_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/judemap/judemap"
	"github.com/judemap/judemap/examples/triton/kserve"
	"github.com/judemap/judemap/examples/triton/kserve/inference"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
)

// limit returns a context for one test.
func limit(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func newClient(t *testing.T, addresses []string, opts ...kserve.Option) *kserve.Client {
	t.Helper()
	needTriton(t)
	c, err := kserve.New(addresses, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func newStream(t *testing.T, slots, capacity int) *judemap.Stream {
	t.Helper()
	name := uniqueName()
	s, err := judemap.CreateStream(name, slots, capacity)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(); _ = judemap.Remove(name) })
	return s
}

func newSegment(t *testing.T, name string, capacity int) *judemap.Segment {
	t.Helper()
	s, err := judemap.Create(name, capacity)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(); _ = judemap.Remove(name) })
	return s
}

func newReader(t *testing.T, s *judemap.Stream) *judemap.Reader {
	t.Helper()
	r, err := s.Reader()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// write commits floats to a segment, and returns a view of them.
func write(t *testing.T, s *judemap.Segment, values ...float32) judemap.Tensor {
	t.Helper()
	if err := judemap.WriteSlice(s, []int{1, len(values)}, values); err != nil {
		t.Fatal(err)
	}
	view, err := s.Read()
	if err != nil {
		t.Fatal(err)
	}
	return view
}

func floats(t *testing.T, tensor *judemap.Tensor) []float32 {
	t.Helper()
	values, err := judemap.Slice[float32](tensor)
	if err != nil {
		t.Fatal(err)
	}
	return values
}

func wantError(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("the error is %v, and should be %v", err, want)
	}
}

// ways are how tensors get to a server and back.
var ways = []struct {
	name   string
	option kserve.Option
}{
	{"shared", kserve.WithSharedOnly()},
	{"bytes", kserve.WithBytes()},
}

var dtypes = map[string]judemap.DType{
	"BOOL": judemap.Bool, "UINT8": judemap.Uint8, "UINT16": judemap.Uint16, "UINT32": judemap.Uint32, "UINT64": judemap.Uint64,
	"INT8": judemap.Int8, "INT16": judemap.Int16, "INT32": judemap.Int32, "INT64": judemap.Int64, "FP16": judemap.Float16,
	"FP32": judemap.Float32, "FP64": judemap.Float64, "BF16": judemap.BFloat16,
}

// Random bits of every element type, NaNs among them, come back as they were, from streams and segments, in shared memory
// and as bytes.
func TestEveryElementType(t *testing.T) {
	ctx := limit(t)
	random := rand.NewChaCha8([32]byte{7})
	for _, way := range ways {
		for _, model := range models {
			if model.name == "slow" {
				continue
			}
			t.Run(way.name+"/"+model.name, func(t *testing.T) {
				c := newClient(t, []string{triton.address}, way.option)
				if err := c.Ready(ctx, model.name); err != nil {
					t.Fatal(err)
				}
				dtype := dtypes[model.datatype]
				data := make([]byte, 3*67*dtype.Size())
				_, _ = random.Read(data)
				if dtype == judemap.Bool {
					for i := range data {
						data[i] &= 1
					}
				}
				in, answers := newStream(t, 4, len(data)), newStream(t, 4, len(data))
				plain, inPlace := newSegment(t, uniqueName(), len(data)), newSegment(t, uniqueName(), len(data))
				process := newSegment(t, uniqueName(), 8)
				r := newReader(t, in)
				if err := in.Write(ctx, []int{3, 67}, dtype, data); err != nil {
					t.Fatal(err)
				}
				frame, err := r.Next(ctx)
				if err != nil {
					t.Fatal(err)
				}
				for _, y := range []kserve.Output{{To: answers}, {To: plain}, {To: inPlace, InPlace: true}} {
					y.Name, y.Shape, y.DType = "Y", []int{3, 67}, dtype
					err := c.Infer(ctx, model.name, []kserve.Input{{Name: "X", Tensor: &frame, In: in}},
						[]kserve.Output{y, {Name: "PROCESS", To: process, Shape: []int{1}, DType: judemap.Int64}})
					if err != nil {
						t.Fatal(err)
					}
					got, err := y.To.(interface {
						ReadCopy(context.Context) (judemap.Tensor, error)
					}).ReadCopy(ctx)
					if err != nil {
						t.Fatal(err)
					}
					if got.DType() != dtype || !cmp.Equal(got.Shape(), []int{3, 67}) || !bytes.Equal(got.Data(), data) {
						t.Errorf("%v came back as %v, with other bytes: %v", &frame, got, !bytes.Equal(got.Data(), data))
					}
				}
			})
		}
	}
}

// wire counts calls, and the bytes of their messages, there and back.
type wire struct{ bytes, calls atomic.Int64 }

func (w *wire) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (w *wire) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (w *wire) HandleConn(context.Context, stats.ConnStats)                       {}
func (w *wire) HandleRPC(_ context.Context, s stats.RPCStats) {
	switch s := s.(type) {
	case *stats.Begin:
		w.calls.Add(1)
	case *stats.OutPayload:
		w.bytes.Add(int64(s.WireLength))
	case *stats.InPayload:
		w.bytes.Add(int64(s.WireLength))
	}
}

// In shared memory, 8 MiB there and back puts some hundred bytes on the wire, and the server maps the files themselves.
func TestNothingOnTheWire(t *testing.T) {
	ctx := limit(t)
	const bytes = 8 << 20 // as bytes, above gRPC's own limit of 4 MiB
	in, answers := newStream(t, 4, bytes), newStream(t, 4, bytes)
	plain := newSegment(t, uniqueName(), bytes)
	r := newReader(t, in)
	if err := in.Fill(ctx, []int{1, bytes / 4}, judemap.Float32, 1); err != nil {
		t.Fatal(err)
	}
	frame, err := r.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, way := range ways {
		for _, to := range []kserve.Memory{answers, plain} {
			var w wire
			c := newClient(t, []string{triton.address}, way.option, kserve.WithDialOptions(grpc.WithStatsHandler(&w)))
			infer := func() {
				if err := c.Infer(ctx, "same_FP32", []kserve.Input{{"X", &frame, in}},
					[]kserve.Output{{Name: "Y", To: to, Shape: []int{1, bytes / 4}, DType: judemap.Float32}}); err != nil {
					t.Fatal(err)
				}
			}
			infer() // registers
			w.bytes.Store(0)
			infer()
			n := w.bytes.Load()
			t.Logf("%s, %T: %d bytes on the wire", way.name, to, n)
			if way.name == "shared" && n > 1000 || way.name == "bytes" && n < 2*bytes {
				t.Errorf("%s, %T: %d bytes on the wire for 2 tensors of %d", way.name, to, n, bytes)
			}
			if way.name == "shared" {
				var mapped []string // what the server does with a scratch's name is its own
				for _, region := range registered(t, ctx) {
					mapped = append(mapped, fmt.Sprint(region.Offset, region.ByteSize))
				}
				want := []string{"0 " + fmt.Sprint(fileSize(t, in.Name()))}
				if to == kserve.Memory(answers) {
					want = append(want, "0 "+fmt.Sprint(fileSize(t, answers.Name())))
				} else {
					want = append(want, "0 "+fmt.Sprint(fileSize(t, plain.Name()))) // the scratch's
				}
				slices.Sort(mapped)
				slices.Sort(want)
				if diff := cmp.Diff(want, mapped); diff != "" {
					t.Errorf("the server's regions (-want +got):\n%s", diff)
				}
			}
			c.Close()
			for key := range registered(t, ctx) {
				if strings.Contains(key, fmt.Sprintf("-%d-", os.Getpid())) {
					t.Errorf("%s is registered after Close", key)
				}
			}
			if left, _ := filepath.Glob(fmt.Sprintf("/dev/shm/kserve-%d-*", os.Getpid())); len(left) > 0 {
				t.Errorf("%v are left in /dev/shm", left)
			}
		}
	}
}

func fileSize(t *testing.T, name string) int64 {
	t.Helper()
	info, err := os.Stat("/dev/shm/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// registered returns the common server's regions, by their keys.
func registered(t *testing.T, ctx context.Context) map[string]*inference.SystemSharedMemoryStatusResponse_RegionStatus {
	t.Helper()
	conn, err := grpc.NewClient(triton.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	response, err := inference.NewGRPCInferenceServiceClient(conn).SystemSharedMemoryStatus(ctx,
		&inference.SystemSharedMemoryStatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	regions := map[string]*inference.SystemSharedMemoryStatusResponse_RegionStatus{}
	for _, region := range response.GetRegions() {
		regions[region.GetKey()] = region
	}
	return regions
}

// Who waits for an output is woken by it.
func TestWakesWhoWaits(t *testing.T) {
	ctx := limit(t)
	for _, way := range ways {
		c := newClient(t, []string{triton.address}, way.option)
		in, answers := newSegment(t, uniqueName(), 64), newStream(t, 4, 64)
		view := write(t, in, 1, 2, 3)
		r := newReader(t, answers)
		got := make(chan string)
		go func() {
			frame, err := r.Next(ctx)
			if err != nil {
				got <- err.Error()
				return
			}
			values, _ := judemap.Slice[float32](&frame)
			got <- fmt.Sprint(values)
		}()
		if err := c.Infer(ctx, "same_FP32", []kserve.Input{{"X", &view, in}},
			[]kserve.Output{{Name: "Y", To: answers, Shape: []int{1, 3}, DType: judemap.Float32}}); err != nil {
			t.Fatal(err)
		}
		if values := <-got; values != "[1 2 3]" {
			t.Errorf("%s: the reader got %s", way.name, values)
		}
	}
}

// A name that was made anew, here with a shorter file, is registered anew; and what still is in the old file goes as bytes.
func TestNameMadeAnew(t *testing.T) {
	ctx := limit(t)
	c := newClient(t, []string{triton.address})
	shared := newClient(t, []string{triton.address}, kserve.WithSharedOnly())
	name, answer := uniqueName(), newSegment(t, uniqueName(), 64)
	y := []kserve.Output{{Name: "Y", To: answer, Shape: []int{1, 2}, DType: judemap.Float32}}
	var olds []*judemap.Segment
	for n := range 3 {
		_ = judemap.Remove(name)
		s := newSegment(t, name, 1<<(16-4*n))
		view := write(t, s, float32(n), 1)
		if err := shared.Infer(ctx, "same_FP32", []kserve.Input{{"X", &view, s}}, y); err != nil {
			t.Fatal(err)
		}
		got, err := answer.Read()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]float32{float32(n), 1}, floats(t, &got)); diff != "" {
			t.Errorf("made %d times (-want +got):\n%s", n+1, diff)
		}
		olds = append(olds, s)
	}
	view := write(t, olds[0], 7, 8)
	wantError(t, shared.Infer(ctx, "same_FP32", []kserve.Input{{"X", &view, olds[0]}}, y), kserve.ErrNotShared)
	if err := c.Infer(ctx, "same_FP32", []kserve.Input{{"X", &view, olds[0]}}, y); err != nil {
		t.Fatal(err)
	}
	got, err := answer.Read()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]float32{7, 8}, floats(t, &got)); diff != "" {
		t.Error(diff)
	}
}

// Two clients, as in two programs, use the same stream and segment at the same server.
func TestTwoClients(t *testing.T) {
	ctx := limit(t)
	in, answers := newSegment(t, uniqueName(), 64), newStream(t, 4, 64)
	view := write(t, in, 1, 2)
	for range 2 {
		c := newClient(t, []string{triton.address}, kserve.WithSharedOnly())
		if err := c.Infer(ctx, "same_FP32", []kserve.Input{{"X", &view, in}},
			[]kserve.Output{{Name: "Y", To: answers, Shape: []int{1, 2}, DType: judemap.Float32}}); err != nil {
			t.Fatal(err)
		}
		got, err := answers.ReadCopy(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]float32{1, 2}, floats(t, &got)); diff != "" {
			t.Error(diff)
		}
	}
}

// Triton maps no more than the file, and from its start alone. The client asks for nothing else.
func TestRegistering(t *testing.T) {
	ctx := limit(t)
	needTriton(t)
	s := newSegment(t, uniqueName(), 4096)
	conn, err := grpc.NewClient(triton.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, request := range []*inference.SystemSharedMemoryRegisterRequest{
		{Name: "beyond", Key: "/" + s.Name(), ByteSize: 1 << 20},
		{Name: "offset", Key: "/" + s.Name(), Offset: 256, ByteSize: 4096},
	} {
		_, err := inference.NewGRPCInferenceServiceClient(conn).SystemSharedMemoryRegister(ctx, request)
		if t.Log(err); err == nil {
			t.Errorf("registering %v: %v", request, err)
		}
	}
}

// A server that dies in the middle gives an error, and outputs are as they were. Started again, it is told anew of the
// regions, without a word.
func TestServerDies(t *testing.T) {
	ctx := limit(t)
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			own := startServer(t, few(t, "slow"))
			c := newClient(t, []string{own.address}, way.option)
			in, answers := newSegment(t, uniqueName(), 64), newStream(t, 4, 64)
			plain, inPlace := newSegment(t, uniqueName(), 64), newSegment(t, uniqueName(), 64)
			view := write(t, in, 1, 2)
			infer := func(y kserve.Output) error {
				y.Name, y.Shape, y.DType = "Y", []int{1, 2}, judemap.Float32
				return c.Infer(ctx, "slow", []kserve.Input{{"X", &view, in}}, []kserve.Output{y})
			}
			before := write(t, plain, 5)
			write(t, inPlace, 5)
			if err := judemap.StreamSlice(ctx, answers, []int{1, 1}, []float32{5}); err != nil {
				t.Fatal(err)
			}
			for _, y := range []kserve.Output{{To: plain}, {To: answers}, {To: inPlace, InPlace: true}} {
				failed := make(chan error, 1)
				go func() { failed <- infer(y) }()
				time.Sleep(300 * time.Millisecond) // the model takes a second
				own.kill()
				err := <-failed
				wantError(t, err, kserve.ErrServerGone)
				t.Log(err)
				switch y.To {
				case plain:
					if !before.Valid() {
						t.Error("the segment was written to")
					}
				case answers:
					got, err := answers.ReadCopy(ctx)
					if err != nil || got.Version() != 2 || floats(t, &got)[0] != 5 {
						t.Errorf("the stream has %v (%v)", got, err)
					}
				case inPlace:
					got, err := inPlace.Read()
					if way.name == "shared" {
						wantError(t, err, judemap.ErrEmpty)
					} else if err != nil || floats(t, &got)[0] != 5 {
						t.Errorf("the segment has %v (%v)", got, err)
					}
				}
				err = infer(y)
				wantError(t, err, kserve.ErrUnreachable)
				t.Log(err)
				if err := own.start(few(t, "slow"), ""); err != nil {
					t.Fatal(err)
				}
				if err := c.Ready(ctx, "slow"); err != nil {
					t.Fatal(err)
				}
				if err := infer(y); err != nil {
					t.Fatal(err)
				}
			}
			for _, s := range []*judemap.Segment{plain, inPlace} {
				got, err := s.Read()
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff([]float32{1, 2}, floats(t, &got)); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

// Two servers take turns; when one dies the other answers all; started again, it has its turns again.
func TestRoundRobin(t *testing.T) {
	ctx := limit(t)
	second := startServer(t, few(t, "same_FP32"))
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			c := newClient(t, []string{triton.address, second.address}, way.option)
			if err := c.Ready(ctx, "same_FP32"); err != nil {
				t.Fatal(err)
			}
			in, process := newSegment(t, uniqueName(), 64), newSegment(t, uniqueName(), 64)
			view := write(t, in, 1, 2)
			// calls returns how many of n calls each process answered.
			calls := func(n int) map[int64]int {
				t.Helper()
				answered := map[int64]int{}
				for range n {
					if err := c.Infer(ctx, "same_FP32", []kserve.Input{{"X", &view, in}},
						[]kserve.Output{{Name: "PROCESS", To: process, Shape: []int{1}, DType: judemap.Int64}}); err != nil {
						t.Fatal(err)
					}
					got, err := process.Read()
					if err != nil {
						t.Fatal(err)
					}
					ids, err := judemap.Slice[int64](&got)
					if err != nil {
						t.Fatal(err)
					}
					answered[ids[0]]++
				}
				return answered
			}
			turns := func(answered map[int64]int) {
				t.Helper()
				if len(answered) != 2 {
					t.Errorf("answered by %v; each of two should have 5", answered)
				}
				for _, n := range answered {
					if n != 5 {
						t.Errorf("answered by %v; each of two should have 5", answered)
					}
				}
			}
			turns(calls(10))
			second.kill()
			for deadline := time.Now().Add(10 * time.Second); ; { // until the connection's end is known
				err := c.Infer(ctx, "same_FP32", []kserve.Input{{"X", &view, in}},
					[]kserve.Output{{Name: "PROCESS", To: process, Shape: []int{1}, DType: judemap.Int64}})
				if err == nil {
					break
				}
				if wantError(t, err, kserve.ErrServerGone); time.Now().After(deadline) {
					t.Fatal(err)
				}
			}
			if answered := calls(10); len(answered) != 1 {
				t.Errorf("answered by %v; one of two is dead", answered)
			}
			if err := second.start(few(t, "same_FP32"), ""); err != nil {
				t.Fatal(err)
			}
			if err := c.Ready(ctx, "same_FP32"); err != nil {
				t.Fatal(err)
			}
			turns(calls(10))
		})
	}
}

// A call whose context ends returns at once. The server goes on, and what it still writes to is nobody else's until then.
func TestContextEnds(t *testing.T) {
	ctx := limit(t)
	c := newClient(t, []string{triton.address}, kserve.WithSharedOnly())
	in, answers, plain := newSegment(t, uniqueName(), 64), newStream(t, 2, 64), newSegment(t, uniqueName(), 64)
	view, before := write(t, in, 1, 2), write(t, plain, 5)
	if err := judemap.StreamSlice(ctx, answers, []int{1, 1}, []float32{5}); err != nil {
		t.Fatal(err)
	}
	if err := c.Ready(ctx, "slow"); err != nil {
		t.Fatal(err)
	}
	for _, to := range []kserve.Memory{plain, answers} {
		y := []kserve.Output{{Name: "Y", To: to, Shape: []int{1, 2}, DType: judemap.Float32}}
		short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
		begun := time.Now()
		wantError(t, c.Infer(short, "slow", []kserve.Input{{"X", &view, in}}, y), context.DeadlineExceeded)
		if took := time.Since(begun); took > 800*time.Millisecond {
			t.Errorf("%T: Infer returned after %v, with a context of 200ms", to, took)
		}
		cancel()
	}
	if !before.Valid() {
		t.Error("the segment was written to")
	}
	// A second call to the stream waits no longer than its context either.
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	wantError(t, c.Infer(short, "same_FP32", []kserve.Input{{"X", &view, in}},
		[]kserve.Output{{Name: "Y", To: answers, Shape: []int{1, 2}, DType: judemap.Float32}}), context.DeadlineExceeded)
	// The stream's only other slot is the server's for as long as it may write there.
	for n := range 3 {
		if err := judemap.StreamSlice(ctx, answers, []int{1, 1}, []float32{float32(6 + n)}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(500 * time.Millisecond)
		got, err := answers.ReadCopy(ctx)
		if err != nil || got.Version() != uint64(4+2*n) || floats(t, &got)[0] != float32(6+n) {
			t.Errorf("the stream has %v (%v)", got, err)
		}
	}
}

// An input that is overwritten meanwhile gives an error, and no output.
func TestInputChanges(t *testing.T) {
	ctx := limit(t)
	for _, way := range ways {
		c := newClient(t, []string{triton.address}, way.option)
		in, answer := newSegment(t, uniqueName(), 64), newSegment(t, uniqueName(), 64)
		view := write(t, in, 1, 2)
		if err := c.Ready(ctx, "slow"); err != nil {
			t.Fatal(err)
		}
		failed := make(chan error, 1)
		go func() {
			failed <- c.Infer(ctx, "slow", []kserve.Input{{"X", &view, in}},
				[]kserve.Output{{Name: "Y", To: answer, Shape: []int{1, 2}, DType: judemap.Float32}})
		}()
		time.Sleep(200 * time.Millisecond)
		write(t, in, 3, 4)
		wantError(t, <-failed, kserve.ErrChanged)
		_, err := answer.Read()
		wantError(t, err, judemap.ErrEmpty)
	}
}

func TestErrors(t *testing.T) {
	ctx := limit(t)
	in, answer := newSegment(t, uniqueName(), 64), newSegment(t, uniqueName(), 64)
	private, err := judemap.New(64)
	if err != nil {
		t.Fatal(err)
	}
	defer private.Close()
	view, inPrivate, before := write(t, in, 1, 2), write(t, private, 1, 2), write(t, answer, 5)
	imaginary := newSegment(t, uniqueName(), 64)
	if err := judemap.WriteSlice(imaginary, []int{1, 1}, []complex64{1}); err != nil {
		t.Fatal(err)
	}
	complexView, err := imaginary.Read()
	if err != nil {
		t.Fatal(err)
	}
	x := []kserve.Input{{"X", &view, in}}
	y := func(o kserve.Output) []kserve.Output {
		if o.Name == "" {
			o.Name = "Y"
		}
		if o.Shape == nil {
			o.Shape = []int{1, 2}
		}
		if o.To == nil {
			o.To = answer
		}
		return []kserve.Output{o}
	}
	var noSegment *judemap.Segment
	for _, way := range ways {
		c := newClient(t, []string{triton.address}, way.option)
		for _, test := range []struct {
			name, model string
			inputs      []kserve.Input
			outputs     []kserve.Output
			want        error      // errors.Is
			code        codes.Code // or of the server
			text        string     // or in the error
		}{
			{name: "unknown model", model: "nix", inputs: x, outputs: y(kserve.Output{}), code: codes.NotFound},
			{name: "unknown input", inputs: []kserve.Input{{"Z", &view, in}}, outputs: y(kserve.Output{}), code: codes.InvalidArgument},
			{name: "unknown output", inputs: x, outputs: y(kserve.Output{Name: "Z"}), code: codes.InvalidArgument},
			{name: "another type", inputs: x, outputs: y(kserve.Output{DType: judemap.Int32}), want: kserve.ErrResponse},
			{name: "another shape", inputs: x, outputs: y(kserve.Output{Shape: []int{2, 1}}), want: kserve.ErrResponse},
			{name: "too large", inputs: x, outputs: y(kserve.Output{Shape: []int{1, 17}}), want: judemap.ErrCapacity, text: "68 bytes"},
			{name: "no such shape", inputs: x, outputs: y(kserve.Output{Shape: []int{-1, 2}}), want: judemap.ErrShape, text: "-1"},
			{name: "two to one", inputs: x, outputs: append(y(kserve.Output{}), y(kserve.Output{Name: "PROCESS"})...), text: "one place"},
			{name: "over its input", inputs: x, outputs: y(kserve.Output{To: in, InPlace: true}), text: "overwrite"},
			{name: "no tensor", inputs: []kserve.Input{{"X", nil, in}}, outputs: y(kserve.Output{}), text: "no tensor"},
			{name: "no segment", inputs: x, outputs: y(kserve.Output{To: noSegment}), text: "*judemap.Segment"},
			{name: "complex", inputs: []kserve.Input{{"X", &complexView, imaginary}}, outputs: y(kserve.Output{}), want: judemap.ErrDType},
		} {
			if test.model == "" {
				test.model = "same_FP32"
			}
			err := c.Infer(ctx, test.model, test.inputs, test.outputs)
			t.Logf("%s, %s: %v", way.name, test.name, err)
			switch {
			case err == nil || test.want != nil && !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text),
				test.code != codes.OK && status.Code(err) != test.code:
				t.Errorf("%s, %s: %v", way.name, test.name, err)
			case !before.Valid():
				t.Errorf("%s, %s: the segment was written to", way.name, test.name)
			}
		}
		err := c.Infer(ctx, "same_FP32", []kserve.Input{{"X", &inPrivate, private}}, y(kserve.Output{To: private}))
		if way.name == "shared" {
			wantError(t, err, kserve.ErrNotShared)
		} else if err != nil {
			t.Error(err)
		}
		c.Close()
		wantError(t, c.Infer(ctx, "same_FP32", x, y(kserve.Output{})), kserve.ErrClosed)
	}
}

// Many goroutines use one client, two servers, and the same segments.
func TestConcurrentCalls(t *testing.T) {
	ctx := limit(t)
	c := newClient(t, []string{triton.address}, kserve.WithSharedOnly())
	answers := newStream(t, 4, 1<<16)
	var running sync.WaitGroup
	for n := range 8 {
		in, plain := newSegment(t, uniqueName(), 1<<16), newSegment(t, uniqueName(), 1<<16)
		running.Go(func() {
			values := make([]float32, 1+n*1000)
			for i := range values {
				values[i] = float32(n)
			}
			if err := judemap.WriteSlice(in, []int{1, len(values)}, values); err != nil {
				t.Error(err)
				return
			}
			view, err := in.Read()
			if err != nil {
				t.Error(err)
				return
			}
			for range 10 {
				for _, to := range []kserve.Memory{plain, answers} {
					if err := c.Infer(ctx, "same_FP32", []kserve.Input{{"X", &view, in}},
						[]kserve.Output{{Name: "Y", To: to, Shape: view.Shape(), DType: judemap.Float32}}); err != nil {
						t.Error(err)
						return
					}
				}
				if got, err := plain.Read(); err != nil || !bytes.Equal(got.Data(), view.Data()) {
					t.Errorf("%d: %v %v", n, got, err)
				}
			}
		})
	}
	running.Wait()
}

// A server on this machine with another /dev/shm is found out, though the names in it may be the same, and gets bytes.
func TestAnotherSharedMemory(t *testing.T) {
	ctx := limit(t)
	needTriton(t)
	if os.Getuid() != 0 {
		t.Skip("a mount namespace takes root")
	}
	other := &tritonServer{}
	in, answer := newSegment(t, uniqueName(), 64), newSegment(t, uniqueName(), 64)
	err := other.start(few(t, "same_FP32"), fmt.Sprintf("mount -t tmpfs tmpfs /dev/shm && head -c 1000000 /dev/zero >/dev/shm/%s",
		in.Name()))
	if err != nil {
		t.Skip("it takes the right to mount: ", err)
	}
	defer other.kill()
	view := write(t, in, 1, 2)
	y := []kserve.Output{{Name: "Y", To: answer, Shape: []int{1, 2}, DType: judemap.Float32}}
	shared := newClient(t, []string{other.address}, kserve.WithSharedOnly())
	err = shared.Infer(ctx, "same_FP32", []kserve.Input{{"X", &view, in}}, y)
	wantError(t, err, kserve.ErrNotShared)
	t.Log(err)
	var w wire
	c := newClient(t, []string{other.address}, kserve.WithDialOptions(grpc.WithStatsHandler(&w)))
	for range 2 {
		w.calls.Store(0)
		if err := c.Infer(ctx, "same_FP32", []kserve.Input{{"X", &view, in}}, y); err != nil {
			t.Fatal(err)
		}
	}
	if n := w.calls.Load(); n != 1 {
		t.Errorf("the second Infer took %d calls of the server: it asks again for what was refused", n)
	}
	got, err := answer.Read()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]float32{1, 2}, floats(t, &got)); diff != "" {
		t.Error(diff)
	}
}
