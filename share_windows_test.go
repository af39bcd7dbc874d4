//go:build cgo

package judemap

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"

	"golang.org/x/sys/windows"
)

// The folder of the segments is for the user and the system alone, and so are the files in it.
func TestFolderIsTheUsers(t *testing.T) {
	named(t, 100)
	user, err := windows.GetCurrentProcessToken().GetTokenUser()
	if err != nil {
		t.Fatal(err)
	}
	security, err := windows.GetNamedSecurityInfo(sharedMemory(), windows.SE_FILE_OBJECT, windows.DACL_SECURITY_INFORMATION)
	if err != nil {
		t.Fatal(err)
	}
	rights, _, err := security.DACL()
	if err != nil {
		t.Fatal(err)
	}
	owner := 0
	for i := range uint32(rights.AceCount) {
		var entry *windows.ACCESS_ALLOWED_ACE
		if err := windows.GetAce(rights, i, &entry); err != nil {
			t.Fatal(err)
		}
		switch sid := (*windows.SID)(unsafe.Pointer(&entry.SidStart)); {
		case entry.Header.AceType != windows.ACCESS_ALLOWED_ACE_TYPE, sid.IsWellKnown(windows.WinLocalSystemSid):
		case sid.Equals(user.User.Sid):
			owner++
			if want := uint8(windows.OBJECT_INHERIT_ACE | windows.CONTAINER_INHERIT_ACE); entry.Header.AceFlags&want != want {
				t.Errorf("files in the folder do not inherit the user's rights: flags %#x", entry.Header.AceFlags)
			}
		default:
			t.Errorf("%v has the rights %#x", sid, entry.Mask)
		}
	}
	if owner == 0 {
		t.Errorf("the user has no right to the folder: %v", security)
	}
}

// nameless counts the files that have no name of a segment.
func nameless(t *testing.T) (n int) {
	t.Helper()
	entries, err := os.ReadDir(sharedMemory())
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), "\uf02f") {
			n++
		}
	}
	return n
}

// A segment in use is removed by another name for its file. Who has it open goes on with it, the name is free, and the
// last that closes it deletes the file; of one that died the next call does.
func TestRemoveInUse(t *testing.T) {
	if _, err := List(); err != nil {
		t.Fatal(err)
	}
	before := nameless(t)
	for _, test := range []struct {
		last    string
		survive bool
	}{{"this process", true}, {"one that died", false}} {
		t.Run(test.last, func(t *testing.T) {
			s, err := Create(uniqueName(), 8)
			if err != nil {
				t.Fatal(err)
			}
			reader := reopen(t, s)
			other := start(t, peer(t, "park", s.Name()))
			eventually(t, "the other process is parked", func() bool { info, err := Stat(s.Name()); return err == nil && info.Waiters == 1 })

			if err := Remove(s.Name()); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(filepath.Join(sharedMemory(), s.Name())); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the file still has its name: %v", err)
			}
			if n := nameless(t) - before; n != 1 {
				t.Errorf("%d files without a name, want 1", n)
			}
			again, err := Create(s.Name(), 8)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(s.Fill(nil, Uint8, 7), again.Fill(nil, Uint8, 8)); err != nil {
				t.Error(err)
			}
			if got, err := reader.ReadCopy(context.Background()); err != nil || got.Data()[0] != 7 {
				t.Errorf("%v, %v", got.Data(), err)
			}
			if err := errors.Join(again.CloseWait(), Remove(again.Name()), s.CloseWait()); err != nil {
				t.Error(err)
			}
			if n := nameless(t) - before; n != 1 {
				t.Errorf("%d files without a name, want 1", n)
			}
			if test.survive {
				other.kill(t)
				if err := reader.CloseWait(); err != nil {
					t.Error(err)
				}
			} else {
				if err := reader.CloseWait(); err != nil {
					t.Error(err)
				}
				if n := nameless(t) - before; n != 1 {
					t.Errorf("%d files without a name, want 1: another process has it open", n)
				}
				other.kill(t)
				if _, err := List(); err != nil {
					t.Error(err)
				}
			}
			if n := nameless(t) - before; n != 0 {
				t.Errorf("%d files are left", n)
			}
		})
	}
}

// Who asks whether there is a writer takes its lock for a moment. Who becomes the writer meanwhile does not notice.
func TestWriterIsAskedFor(t *testing.T) {
	s := named(t, 8)
	if err := s.Fill(nil, Uint8, 1); err != nil {
		t.Fatal(err)
	}
	if err := s.CloseWait(); err != nil {
		t.Fatal(err)
	}
	var stop atomic.Bool
	var asked atomic.Int64
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for !stop.Load() {
				if _, err := Stat(s.Name()); err != nil {
					t.Error(err)
					return
				}
				asked.Add(1)
			}
		})
	}
	for i := range 200 {
		writer, err := Open(s.Name())
		if err != nil {
			t.Fatal(err)
		}
		if err := writer.Fill(nil, Uint8, 1); err != nil {
			t.Errorf("writer %d: %v", i, err)
		}
		if err := writer.CloseWait(); err != nil {
			t.Error(err)
		}
	}
	stop.Store(true)
	wg.Wait()
	t.Logf("200 writers, asked for %d times", asked.Load())
}

// A commit sets no event where nobody is parked. The header has a number that goes up with each time.
func TestNoWakeWithoutWaiters(t *testing.T) {
	s := named(t, 8)
	wakes := func() uint32 {
		return atomic.LoadUint32((*uint32)(unsafe.Add(unsafe.Pointer(s.mapping.header), DataOffset-8))) // jm_events
	}
	waiters := func(n int) {
		t.Helper()
		eventually(t, "waiters", func() bool { info, err := Stat(s.Name()); return err == nil && info.Waiters == n })
	}
	reader := reopen(t, s)
	done := make(chan error)
	go func() { _, err := reader.Next(context.Background(), 0); done <- err }()
	waiters(1)
	if n := wakes(); n != 0 {
		t.Errorf("%d wakes before the first commit", n)
	}
	if err := errors.Join(s.Fill(nil, Uint8, 1), <-done); err != nil {
		t.Fatal(err)
	}
	waiters(0)
	woken := wakes()
	if woken == 0 {
		t.Error("a parked reader was not woken")
	}
	for range 1000 {
		if err := s.Fill(nil, Uint8, 1); err != nil {
			t.Fatal(err)
		}
	}
	if n := wakes() - woken; n != 0 {
		t.Errorf("1000 commits that nobody waits for woke %d times", n)
	}
}

// Pinning takes more than a process may lock by default: its working set is raised.
func TestPinRaisesWorkingSet(t *testing.T) {
	const size = 64 << 20
	s := newSegment(t, size)
	if err := s.Pin(); err != nil {
		t.Fatal(err)
	}
	var least, most uintptr
	var flags uint32
	windows.GetProcessWorkingSetSizeEx(windows.CurrentProcess(), &least, &most, &flags)
	if windows.NewLazySystemDLL("ntdll.dll").NewProc("wine_get_version").Find() == nil {
		t.Logf("Wine, which locks without regard to the working set's %d bytes", least)
	} else if least < size {
		t.Errorf("the working set is at least %d bytes, and %d are locked", least, size)
	}
	s.Unpin()
}

// The driver is nvcuda.dll.
func TestCUDADriverIsNamed(t *testing.T) {
	s := newSegment(t, 8)
	if err := s.RegisterCUDA(0); err == nil {
		t.Skip("SKIP: this machine has a driver")
	} else if !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "nvcuda.dll") {
		t.Errorf("%v, want ErrUnsupported that names nvcuda.dll", err)
	}
}
