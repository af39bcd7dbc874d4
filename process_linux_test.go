//go:build cgo

package judemap

import (
	"context"
	"strings"
	"testing"
)

// Children inherit no descriptor of a segment, unless it is passed on.
func TestCloseOnExec(t *testing.T) {
	s := named(t, 64)
	sealed := newSegment(t, 64, WithSealed())
	file, err := sealed.File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { _, err := s.Next(ctx, 0); done <- err }() // the parker's descriptors
	eventually(t, "a parked reader", func() bool { return load32(&s.mapping.header.waiters) != 0 })
	p := startRole(t, "fds")
	if err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"judemap", "shm"} {
		if out := p.output.String(); strings.Contains(out, part) {
			t.Errorf("a child inherits a descriptor of ours:\n%s", out)
		}
	}
	cancel()
	<-done
}
