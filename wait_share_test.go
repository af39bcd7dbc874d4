//go:build cgo

package judemap

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"
)

// Two processes hand a turn back and forth, each parked until the other's commit. A parked reader looks up every 40 ms
// by itself: were it not woken, the rounds would take 20 s.
func TestWakesAtOnce(t *testing.T) {
	const rounds = 500
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	ping, pong := named(t, 8), named(t, 8)
	other := startRole(t, "echo", ping.Name(), pong.Name())
	for i := range uint64(rounds) {
		if err := ping.Fill(nil, Uint8, 1); err != nil {
			t.Fatal(err)
		}
		if _, err := pong.Next(ctx, 2*i); err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
	}
	other.kill(t)
}

// Every commit wakes the parked readers of eight processes. Were they not woken, each round would take the 40 ms after
// which the last of them looks up by itself.
func TestWakesProcesses(t *testing.T) {
	const processes = 8
	commits := 2000
	if testing.Short() {
		commits = 200
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s := named(t, 8)
	var answers [processes]*Segment
	var others [processes]*process
	for i := range answers {
		answers[i] = named(t, 8)
		others[i] = startRole(t, "echo", s.Name(), answers[i].Name())
	}
	eventually(t, "all processes are parked", func() bool {
		info, err := Stat(s.Name())
		return err == nil && info.Waiters == processes
	})
	rounds := make([]time.Duration, commits)
	for i := range rounds {
		begun := time.Now()
		if err := s.Fill(nil, Uint8, 1); err != nil {
			t.Fatal(err)
		}
		for j, answer := range answers {
			if _, err := answer.Next(ctx, 2*uint64(i)); err != nil {
				t.Fatalf("commit %d, process %d: %v", i, j, err)
			}
		}
		rounds[i] = time.Since(begun)
	}
	for _, other := range others {
		other.kill(t)
	}
	slices.Sort(rounds)
	median := rounds[commits/2]
	t.Logf("%d of %d readers woken; from a commit to the last of %d answers: median %v, most %v",
		processes*commits, processes*commits, processes, median, rounds[commits-1])
	if median > 30*time.Millisecond {
		t.Errorf("a round takes %v: readers look up by themselves", median)
	}
}

// One commit, in another process, wakes the parked readers of all; a context and Close end a wait with their own error.
func TestWaitAcrossProcesses(t *testing.T) { inBothWays(t, testWaitAcrossProcesses) }

func testWaitAcrossProcesses(t *testing.T) {
	for name, wait := range waits {
		for _, ending := range []struct {
			name string
			end  func(s, reader *Segment, cancel func())
			want error
		}{
			{"a commit", func(s, _ *Segment, _ func()) { _ = s.Fill(nil, Uint8, 1) }, nil},
			{"the context's end", func(_, _ *Segment, cancel func()) { cancel() }, context.Canceled},
			{"Close", func(_, reader *Segment, _ func()) { _ = reader.Close() }, ErrClosed},
		} {
			t.Run(name+", "+ending.name, func(t *testing.T) {
				s := named(t, 64)
				reader := reopen(t, s)
				other := start(t, peer(t, "park", s.Name()))
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
				defer cancel()
				type result struct {
					version uint64
					err     error
				}
				results := make(chan result)
				for range 3 {
					go func() {
						got, err := wait(ctx, reader, 0)
						results <- result{got.Version(), err}
					}()
				}
				parked := func() uint32 { return load32(&s.mapping.header.waiters) }
				// All three: Frames gives what is committed after the call.
				eventually(t, "three readers here and one there are parked", func() bool {
					return reader.waiters.parkedReaders() == 3 && parked() == 2
				})
				start := time.Now()
				ending.end(s, reader, cancel)
				for range 3 {
					got := <-results
					if !errors.Is(got.err, ending.want) || ending.want == nil && got.version != 2 {
						t.Errorf("version %d, error %v; want %v", got.version, got.err, ending.want)
					}
				}
				t.Logf("%s ended 3 waits in %v", ending.name, time.Since(start))
				eventually(t, "only the other process parked", func() bool { return parked() == 1 })
				other.kill(t)
			})
		}
	}
}

// A thread is parked only while somebody waits, and the parker's a moment longer.
func TestParkerStops(t *testing.T) {
	s := named(t, 64)
	other := reopen(t, s)
	eventually(t, "no parker is left from other tests", func() bool { return parkerThreads() == 0 })
	before := descriptors(t)
	parked := func() int { return parkerThreads() + int(threadsParked.Load())%mostThreadsParked }
	inBothWays(t, func(t *testing.T) {
		for range 3 {
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error)
			go func() { _, err := other.Next(ctx, 0); done <- err }()
			eventually(t, "a thread that waits", func() bool { return parked() == 1 })
			cancel()
			if err := <-done; err != context.Canceled {
				t.Error(err)
			}
			eventually(t, "no thread waits", func() bool { return parked() == 0 })
			eventually(t, "no descriptor is left", func() bool { return descriptors(t) <= before })
		}
	})
}

// Readers that are killed while parked leave themselves counted; the writer finds out, and makes no system calls for
// them any more. A reader that lives is woken all the while.
func TestDeadReadersAreForgotten(t *testing.T) {
	s := named(t, 64)
	waiters := func() uint32 { return load32(&s.mapping.header.waiters) }
	for i := range uint32(3) {
		p := start(t, peer(t, "park", s.Name()))
		eventually(t, "it is parked", func() bool { return waiters() == i+1 })
		p.kill(t)
	}
	began := time.Now()
	eventually(t, "the dead are forgotten", func() bool {
		if err := s.Fill(nil, Uint8, 1); err != nil {
			t.Fatal(err)
		}
		return waiters() == 0
	})
	t.Logf("forgotten after %v and %d commits", time.Since(began), s.Version()/2)
	reader := reopen(t, s)
	done := make(chan error)
	go func() { _, err := reader.Next(context.Background(), s.Version()); done <- err }()
	eventually(t, "a reader is parked", func() bool { return waiters() == 1 })
	if err := s.Fill(nil, Uint8, 1); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// When the reader that leads a group leaves, a watch takes its place, and the others sleep on until there is something.
func TestLeaderLeaves(t *testing.T) {
	writer := named(t, 64)
	reader := reopen(t, writer)
	for range 20 {
		ctx, cancel := context.WithCancel(context.Background())
		led, member := make(chan error), make(chan error)
		after := reader.Version()
		go func() { _, err := reader.Next(ctx, after); led <- err }()
		eventually(t, "the leader is parked", func() bool { return reader.waiters.parkedReaders() == 1 })
		go func() { _, err := reader.Next(context.Background(), after); member <- err }()
		eventually(t, "both are parked", func() bool { return reader.waiters.parkedReaders() == 2 })
		cancel()
		if err := <-led; err != context.Canceled {
			t.Fatal(err)
		}
		if n := reader.waiters.parkedReaders(); n != 1 {
			t.Errorf("%d readers are parked after the leader left, want 1", n)
		}
		if err := writer.Fill(nil, Uint8, 1); err != nil {
			t.Fatal(err)
		}
		if err := <-member; err != nil {
			t.Fatal(err)
		}
	}
}
