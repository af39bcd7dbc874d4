// Command goreader prints what Node writes to a segment: goreader NAME. It makes the segment if it isn't there, as one that
// programs write to which don't wake readers, and ends on Ctrl-C.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/judemap/judemap"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := read(ctx, os.Args[1:]); err != nil && ctx.Err() == nil {
		log.Fatal(err)
	}
}

func read(ctx context.Context, args []string) error {
	name := "node-picture"
	if len(args) > 0 {
		name = args[0]
	}
	s, err := judemap.OpenOrCreate(name, 224*224*3, judemap.WithForeignWriters())
	if err != nil {
		return err
	}
	defer s.Close()
	buf := make([]byte, s.ByteCapacity())
	for after := uint64(0); ctx.Err() == nil; {
		t, err := s.NextInto(ctx, after, buf) // looks every millisecond: Node doesn't wake who waits
		switch {
		case errors.Is(err, judemap.ErrWriterDied):
			fmt.Println(err)
			time.Sleep(100 * time.Millisecond) // perhaps another one starts
		case err != nil:
			return err
		case len(t.Data()) == 0:
			fmt.Println("commit", t.Version()/2, t.DType(), t.Shape(), "is empty")
		default:
			fmt.Println("commit", t.Version()/2, t.DType(), t.Shape(), "first byte", t.Data()[0])
		}
		after = max(after, t.Version())
	}
	return nil
}
