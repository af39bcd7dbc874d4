package kserve

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"
	"unsafe"

	"github.com/judemap/judemap"
	"github.com/judemap/judemap/examples/triton/kserve/inference"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// A Memory holds tensors: a *judemap.Segment or a *judemap.Stream.
type Memory interface {
	Name() string
	ByteCapacity() int
	File() (*os.File, error)
}

// A fileID is a file, whatever its name. The number is not another file's while a server maps it.
type fileID struct{ device, inode uint64 }

// A region is a file that a server maps, or refused to.
type region struct {
	name    string // as the server knows it; of no other client
	of      string // the name of the segment or stream
	refused error
}

// A file is what lies behind a Memory.
type file struct {
	id    fileID
	bytes uint64  // in all
	data  uint64  // from its start to the data of the segment, or of slot 0
	base  uintptr // where this process has that data
}

// fileOf looks at the file behind m, which is open as f.
func fileOf(m Memory, f *os.File) (file, error) {
	info, err := f.Stat()
	if err != nil {
		return file{}, err
	}
	stat := info.Sys().(*syscall.Stat_t)
	found := file{id: fileID{uint64(stat.Dev), stat.Ino}, bytes: uint64(info.Size()), data: judemap.DataOffset}
	switch m := m.(type) {
	case *judemap.Segment:
		found.base = m.DataPtr()
	case *judemap.Stream:
		var first [8]byte // docs/layout.md: where slot 0 begins, a segment
		if _, err := f.ReadAt(first[:], 224); err != nil {
			return file{}, err
		}
		found.data += binary.LittleEndian.Uint64(first[:])
		found.base = m.Slot(0)
	}
	if found.base == 0 {
		return file{}, judemap.ErrClosed
	}
	return found, nil
}

// A mapped is a file that a server maps.
type mapped struct {
	file
	region string
}

// parameters say where in the server's memory data is. Error: ErrNotShared if it is not in this file.
func (m *mapped) parameters(data []byte) (map[string]*inference.InferParameter, error) {
	at := uint64(uintptr(unsafe.Pointer(unsafe.SliceData(data))) - m.base)
	// Where data is before base, the difference wraps around and is far above the size.
	if at >= m.bytes || m.data+at+uint64(len(data)) > m.bytes {
		return nil, fmt.Errorf("%w: the tensor is a copy, or is elsewhere than was said", ErrNotShared)
	}
	integer := func(n uint64) *inference.InferParameter {
		return &inference.InferParameter{ParameterChoice: &inference.InferParameter_Int64Param{Int64Param: int64(n)}}
	}
	return map[string]*inference.InferParameter{
		"shared_memory_region": {
			ParameterChoice: &inference.InferParameter_StringParam{StringParam: m.region}},
		"shared_memory_offset":    integer(m.data + at),
		"shared_memory_byte_size": integer(uint64(len(data))),
	}, nil
}

// mapped has the server map the file that m lies in, if it has not yet. Error: ErrNotShared if that can't be done; others
// are of the connection.
func (s *server) mapped(ctx context.Context, m Memory) (mapped, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mappedLocked(ctx, m)
}

// mappedLocked is mapped with s.mu held.
func (s *server) mappedLocked(ctx context.Context, m Memory) (mapped, error) {
	switch {
	case s.options.bytes:
		return mapped{}, ErrNotShared
	case m == nil:
		return mapped{}, fmt.Errorf("%w: it is not said in which segment or stream the tensor is", ErrNotShared)
	case m.Name() == "":
		return mapped{}, fmt.Errorf("%w: a segment or stream without a name", ErrNotShared)
	}
	opened, err := m.File() // the file itself, which may be without its name by now
	if err != nil {
		return mapped{}, fmt.Errorf("the file of %q: %w", m.Name(), err)
	}
	defer opened.Close()
	f, err := fileOf(m, opened)
	if err != nil {
		return mapped{}, fmt.Errorf("the file of %q: %w", m.Name(), err)
	}
	r := s.regions[f.id]
	if r == nil {
		if r, err = s.newRegion(ctx, m.Name(), opened, f); err != nil {
			return mapped{}, err
		}
	}
	return mapped{f, r.name}, r.refused
}

// newRegion registers a file, from its start to its end; with s.mu held.
//
// The server is told of the file by a name that is made for the purpose, a hard link, and not by that of the segment:
//   - A server that opens it sees this machine's /dev/shm, since no other has that name. Whether an address is this
//     machine's own would say less: a container may have a /dev/shm of its own, or share this one.
//   - It is this file, though the segment's name may be another file's by now.
//   - Triton 2.51 opens no name again that is registered, whoever did it: it takes the number of a descriptor that it has
//     closed, and fails, or maps what has that number by then.
func (s *server) newRegion(ctx context.Context, of string, opened *os.File, f file) (*region, error) {
	r := &region{name: fmt.Sprintf("kserve-%d-%s", os.Getpid(), rand.Text()), of: of}
	if err := s.extension(ctx); err != nil {
		return nil, err
	}
	link := "/dev/shm/" + r.name
	if err := linkTo(opened, link); err != nil {
		return nil, fmt.Errorf("%w: %q: %w", ErrNotShared, of, err)
	}
	err := s.register(ctx, r.name, f.bytes)
	_ = os.Remove(link)
	if transport(err) {
		return nil, err
	}
	if err != nil {
		r.refused = fmt.Errorf("%w: the server does not map %q, %d bytes of this machine's /dev/shm: %w", ErrNotShared, of,
			f.bytes, err)
	}
	for id, old := range s.regions { // the name was made anew: the server would keep the old file's memory
		if old.of == of && (old.refused != nil || s.unregister(ctx, old.name) == nil) {
			delete(s.regions, id)
		}
	}
	s.regions[f.id] = r
	return r, nil
}

// extension returns nil if the server says that it can map files. Error: ErrNotShared; others are of the connection.
func (s *server) extension(ctx context.Context) error {
	if !s.described {
		metadata, err := s.rpc.ServerMetadata(ctx, &inference.ServerMetadataRequest{})
		if transport(err) {
			return err
		}
		s.described, s.maps = true, slices.Contains(metadata.GetExtensions(), "system_shared_memory")
	}
	if !s.maps {
		return fmt.Errorf("%w: the server does not have the extension system_shared_memory", ErrNotShared)
	}
	return nil
}

// linkTo gives an open file another name. It must have one still.
func linkTo(f *os.File, name string) error {
	return unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", f.Fd()), unix.AT_FDCWD, name, unix.AT_SYMLINK_FOLLOW)
}

func (s *server) register(ctx context.Context, name string, bytes uint64) error {
	_, err := s.rpc.SystemSharedMemoryRegister(ctx, &inference.SystemSharedMemoryRegisterRequest{
		Name: name, Key: "/" + name, ByteSize: bytes})
	return err
}

func (s *server) unregister(ctx context.Context, name string) error {
	if name == "" { // would be all regions, of all clients
		return nil
	}
	_, err := s.rpc.SystemSharedMemoryUnregister(ctx, &inference.SystemSharedMemoryUnregisterRequest{Name: name})
	return err
}

// unregisterAll undoes what newRegion did, until ctx ends: a region of the last call may be in use for a moment longer.
func (s *server) unregisterAll(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		for id, r := range s.regions {
			err := error(nil)
			if r.refused == nil {
				err = s.unregister(ctx, r.name)
			}
			if transport(err) {
				clear(s.regions) // nobody is there any more
				break
			}
			if err == nil || status.Code(err) == codes.NotFound {
				delete(s.regions, id)
			}
		}
		if len(s.regions) == 0 || ctx.Err() != nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	s.forget()
}

// lost says whether a call failed because the server doesn't know a region that it was told of, as one that was started
// again, and forgets what the one before was told. The status alone may speak of the model.
func (s *server) lost(ctx context.Context, err error, regions []string) bool {
	if len(regions) == 0 || status.Code(err) != codes.NotFound {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	known, err := s.rpc.SystemSharedMemoryStatus(ctx, &inference.SystemSharedMemoryStatusRequest{})
	if err != nil {
		return false
	}
	unknown := func(name string) bool { return known.GetRegions()[name] == nil }
	if !slices.ContainsFunc(regions, unknown) {
		return false
	}
	for _, r := range s.regions { // unless another call has begun anew
		if r.refused == nil && unknown(r.name) {
			s.forget()
			break
		}
	}
	return true
}

// forget forgets what the server was told and said; with s.mu held.
func (s *server) forget() {
	clear(s.regions)
	s.described, s.noScratch = false, nil
	for _, free := range s.scratch {
		free.segment.Close()
	}
	s.scratch = nil
}

// A scratch is a segment that a server writes an output to which a Segment then gets as a copy. Its name is gone once the
// server maps it, so that nothing is left behind by a program that is killed.
type scratch struct {
	segment *judemap.Segment
	mapped
}

// takeScratch returns a scratch with room for bytes, which no other call has. Errors: as mapped.
func (s *server) takeScratch(ctx context.Context, bytes int) (*scratch, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.IndexFunc(s.scratch, func(free *scratch) bool { return free.segment.ByteCapacity() >= bytes }); i >= 0 {
		found := s.scratch[i]
		s.scratch = slices.Delete(s.scratch, i, i+1)
		return found, nil
	}
	if s.noScratch != nil {
		return nil, s.noScratch
	}
	if n := len(s.scratch); n > 0 { // too small; the one that is made now is in its place
		s.drop(ctx, s.scratch[n-1])
		s.scratch = s.scratch[:n-1]
	}
	segment, err := judemap.Create(fmt.Sprintf("kserve-%d-%s", os.Getpid(), rand.Text()), bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotShared, err)
	}
	defer func() { _ = judemap.Remove(segment.Name()) }()
	where, err := s.mappedLocked(ctx, segment)
	if err != nil {
		segment.Close()
		if errors.Is(err, ErrNotShared) { // the next would be refused too, and no two are the same file
			s.noScratch = err
		}
		return nil, err
	}
	return &scratch{segment, where}, nil
}

// drop has the server unmap a scratch that no call uses; with s.mu held.
func (s *server) drop(ctx context.Context, unused *scratch) {
	for id, r := range s.regions {
		if r.name == unused.region && s.unregister(ctx, r.name) == nil {
			delete(s.regions, id)
		}
	}
	unused.segment.Close()
}

// giveScratch gives one back, when the server does not write to it any more.
func (s *server) giveScratch(used *scratch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.regions {
		if r.name == used.region {
			s.scratch = append(s.scratch, used)
			return
		}
	}
	used.segment.Close() // of a server that is no more
}

// transport says whether an error is of the connection, or of the time, and so says nothing of what the server can do.
func transport(err error) bool {
	if err == nil {
		return false
	}
	code := status.Code(err)
	return code == codes.Unavailable || code == codes.DeadlineExceeded || code == codes.Canceled ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
