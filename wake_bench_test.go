//go:build cgo && linux

package judemap

import (
	"context"
	"testing"

	"github.com/judemap/judemap/internal/floor"
)

// BenchmarkWakeProcess: from one process to another, parked, and back: two wakes. by=floor is the same between two
// threads in C++ with nothing but a futex; by=C++ with the core's calls; by=judemap is between two Go processes, whose
// wakes take a futex, an eventfd, the runtime's poller and a channel each.
func BenchmarkWakeProcess(b *testing.B) {
	b.Run("by=judemap", func(b *testing.B) {
		ping, pong := named(b, 8), named(b, 8)
		other := startRole(b, "echo", ping.Name(), pong.Name())
		ctx := context.Background()
		turn := func(i uint64) {
			if err := ping.Fill(nil, Uint8, 1); err != nil {
				b.Fatal(err)
			}
			if _, err := pong.Next(ctx, 2*i); err != nil {
				b.Fatal(err)
			}
		}
		turn(0) // the other process is there
		b.ResetTimer()
		for i := range uint64(b.N) {
			turn(i + 1)
		}
		b.StopTimer()
		other.kill(b)
	})
	b.Run("by=C++", func(b *testing.B) {
		if n := floor.Next(b.N); n != b.N {
			b.Fatalf("woken %d times", n)
		}
	})
	b.Run("by=floor", func(b *testing.B) {
		if !floor.Futex(b.N) {
			b.Skip("no futex")
		}
	})
}
