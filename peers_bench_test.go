//go:build cgo && linux

package judemap

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/judemap/judemap/internal/floor"
)

// What BenchmarkFrames and BenchmarkRoundTrip do, over what the system has for bytes between processes: a Unix stream
// socket, with the buffers that it comes with, and pipes, each with 1 MiB of buffer, the most that a user may have
// unless the system was told otherwise. Each side has one buffer, that it fills or reads to, and writes or sums.

// ends are one process's ends of a connection: a socket is both of them.
type ends struct {
	io.Reader
	io.Writer
	close func() error
}

// connect starts this binary in a role that is given the other ends, and args.
func connect(b *testing.B, by, role string, args ...string) (*ends, *process) {
	b.Helper()
	if by == "socket" {
		path := filepath.Join(b.TempDir(), "socket")
		listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
		if err != nil {
			b.Fatal(err)
		}
		defer listener.Close()
		other := startRole(b, role, append([]string{"--", path}, args...)...)
		if err := listener.SetDeadline(time.Now().Add(time.Minute)); err != nil {
			b.Fatal(err)
		}
		conn, err := listener.Accept()
		if err != nil {
			b.Fatalf("%v\n%s", err, other.output.String())
		}
		return &ends{conn, conn, conn.Close}, other
	}
	theirIn, out := pipe(b)
	in, theirOut := pipe(b)
	other := start(b, roleCommand(role, append([]string{"--", "pipe"}, args...)...), theirIn, theirOut)
	_, _ = theirIn.Close(), theirOut.Close() // or the end of the other process would not be seen
	return &ends{in, out, func() error { return errors.Join(in.Close(), out.Close()) }}, other
}

func pipe(b *testing.B) (r, w *os.File) {
	b.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	conn, err := w.SyscallConn()
	if err != nil {
		b.Fatal(err)
	}
	var errno syscall.Errno
	err = conn.Control(func(fd uintptr) {
		_, _, errno = syscall.Syscall(syscall.SYS_FCNTL, fd, syscall.F_SETPIPE_SZ, 1<<20)
	})
	if err != nil || errno != 0 {
		b.Fatalf("a pipe of 1 MiB: %v, %v", err, errno)
	}
	return r, w
}

// connected is connect's other side.
func connected(path string) (*ends, error) {
	if path == "pipe" {
		in, out := os.NewFile(3, "in"), os.NewFile(4, "out")
		return &ends{in, out, func() error { return errors.Join(in.Close(), out.Close()) }}, nil
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		return nil, err
	}
	return &ends{conn, conn, conn.Close}, nil
}

// send fills a buffer with a byte and writes it, receive reads one and sums it. number is for the error.
func (e *ends) send(buffer []byte, number int) error {
	floor.Memset(buffer, byte(number), 1)
	_, err := e.Write(buffer)
	return err
}

func (e *ends) receive(buffer []byte, number int) error {
	if _, err := io.ReadFull(e, buffer); err != nil {
		return err
	}
	if !isAll(buffer, byte(number)) {
		return fmt.Errorf("payload %d is not what was sent", number)
	}
	return nil
}

func byteFrames(b *testing.B, by string, size int) {
	frames, buffer := frameCount(size), make([]byte, size)
	warm := frames / 10
	var sum time.Duration
	for range b.N {
		here, other := connect(b, by, "byte-sum", strconv.Itoa(size), strconv.Itoa(frames))
		var begun time.Time
		for i := range frames {
			if i == warm {
				begun = time.Now()
			}
			if err := here.send(buffer, i); err != nil {
				b.Fatalf("%v\n%s", err, other.output.String())
			}
		}
		waitFor(b, []*process{other})
		sum += time.Since(begun)
		_ = here.close()
	}
	reportFrames(b, sum, b.N*(frames-warm))
}

func byteTrips(b *testing.B, by string, size int) {
	each := make([]int64, warmUpTrips(size)+trips(size)*b.N)
	here, other := connect(b, by, "byte-pong", strconv.Itoa(size), strconv.Itoa(len(each)))
	if err := here.trips(true, size, each); err != nil {
		b.Fatalf("%v\n%s", err, other.output.String())
	}
	waitFor(b, []*process{other})
	_ = here.close()
	reportTrips(b, each[warmUpTrips(size):])
}

func (e *ends) trips(first bool, size int, each []int64) error {
	out, in := make([]byte, size), make([]byte, size)
	return takeTurns(first, each,
		func(round int) error { return e.send(out, round) },
		func(round int) error { return e.receive(in, round) })
}

func init() {
	// byte-sum PATH SIZE FRAMES takes so many frames, and byte-pong PATH SIZE ROUNDS answers so many.
	roles["byte-sum"] = func(_ *Segment, args []string) error {
		here, err := connected(args[0])
		if err != nil {
			return err
		}
		buffer := make([]byte, number(args[1]))
		for i := range number(args[2]) {
			if err := here.receive(buffer, i); err != nil {
				return err
			}
		}
		return here.close()
	}
	roles["byte-pong"] = func(_ *Segment, args []string) error {
		here, err := connected(args[0])
		if err != nil {
			return err
		}
		err = here.trips(false, number(args[1]), make([]int64, number(args[2])))
		return errors.Join(err, here.close())
	}
}
