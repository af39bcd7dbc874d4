// Command writer commits tensors of int32 to a segment, each of one number throughout, until it is interrupted:
//
//	writer NAME
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/judemap/judemap"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: writer NAME")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := write(ctx, os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

func write(ctx context.Context, name string) error {
	s, err := judemap.OpenOrCreate(name, 1<<20)
	if err != nil {
		return err
	}
	defer s.Close()
	fmt.Printf("writing to /dev/shm/%s\n", name)
	for n := 0; ctx.Err() == nil; n++ {
		if err := s.Fill([]int{250, 1000}, judemap.Int32, float64(n%1000000)); err != nil {
			return err
		}
		// Readers that copy find no time between commits that follow one another at once.
		time.Sleep(300 * time.Microsecond)
	}
	return nil
}
