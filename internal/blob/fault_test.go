package blob

import (
	"errors"
	"strings"
	"testing"

	"atoll/internal/core"
)

var errDisk = errors.New("disk on fire")

// faultFS fails the n-th call that changes the disk, and with torn also every
// later one, as if the power had gone.
type faultFS struct {
	OS
	calls, fail int
	torn        bool
}

func (f *faultFS) step() error {
	f.calls++
	if f.calls == f.fail || f.torn && f.calls > f.fail {
		return errDisk
	}
	return nil
}

func (f *faultFS) CreateTemp(dir string) (File, error) {
	if err := f.step(); err != nil {
		return nil, err
	}
	file, err := f.OS.CreateTemp(dir)
	return &faultFile{file, f}, err
}

func (f *faultFS) OpenFile(path string) (RandomFile, error) {
	if err := f.step(); err != nil {
		return nil, err
	}
	file, err := f.OS.OpenFile(path)
	return &faultRandom{file, f}, err
}

func (f *faultFS) Mkdir(dir string) error {
	if err := f.step(); err != nil {
		return err
	}
	return f.OS.Mkdir(dir)
}

func (f *faultFS) Rename(from, to string) error {
	if err := f.step(); err != nil {
		return err
	}
	return f.OS.Rename(from, to)
}

func (f *faultFS) Remove(path string) error {
	if err := f.step(); err != nil {
		return err
	}
	return f.OS.Remove(path)
}

func (f *faultFS) SyncDir(dir string) error {
	if err := f.step(); err != nil {
		return err
	}
	return f.OS.SyncDir(dir)
}

type faultFile struct {
	File
	fs *faultFS
}

func (f *faultFile) Write(p []byte) (int, error) {
	if err := f.fs.step(); err != nil {
		n, _ := f.File.Write(p[:len(p)/2]) // a short write, as on a full disk
		return n, err
	}
	return f.File.Write(p)
}

func (f *faultFile) Sync() error {
	if err := f.fs.step(); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f *faultFile) Close() error {
	err := f.File.Close()
	return errors.Join(f.fs.step(), err)
}

type faultRandom struct {
	RandomFile
	fs *faultFS
}

func (f *faultRandom) WriteAt(p []byte, off int64) (int, error) {
	if err := f.fs.step(); err != nil {
		n, _ := f.RandomFile.WriteAt(p[:len(p)/2], off)
		return n, err
	}
	return f.RandomFile.WriteAt(p, off)
}

func (f *faultRandom) Sync() error {
	if err := f.fs.step(); err != nil {
		return err
	}
	return f.RandomFile.Sync()
}

func (f *faultRandom) Close() error {
	err := f.RandomFile.Close()
	return errors.Join(f.fs.step(), err)
}

// fastFS syncs nothing: for tests that are not about crashes.
type fastFS struct{ OS }

func (fastFS) SyncDir(string) error { return nil }

func (f fastFS) CreateTemp(dir string) (File, error) {
	file, err := f.OS.CreateTemp(dir)
	return fastFile{file}, err
}

type fastFile struct{ File }

func (fastFile) Sync() error { return nil }

// TestEveryFault fails each disk call of a Put that has to evict, once alone
// and once for good, and then looks at the disk with fresh eyes.
func TestEveryFault(t *testing.T) {
	t.Parallel()
	old, content := strings.Repeat("old", 1000), strings.Repeat("new", 1000)
	for _, torn := range []bool{false, true} {
		succeeded := false
		for n := 1; !succeeded; n++ {
			if n > 50 {
				t.Fatal("Put never succeeds")
			}
			dir := t.TempDir()
			disk := &faultFS{}
			s := open(t, dir, Options{MaxBytes: 4000, FS: disk})
			put(t, s, old)
			disk.calls, disk.fail, disk.torn = 0, n, torn
			d, _, err := s.Put(t.Context(), strings.NewReader(content), core.Digest{}, 4000)
			succeeded = disk.calls < n
			if succeeded != (err == nil) {
				t.Fatalf("torn %v, call %d: %v after %d calls", torn, n, err, disk.calls)
			}
			if err != nil && !errors.Is(err, errDisk) {
				t.Errorf("call %d: %v", n, err)
			}
			want := core.DigestOf([]byte(content))
			if s.Has(want) != succeeded || succeeded && d != want {
				t.Errorf("torn %v, call %d: has %v", torn, n, s.Has(want))
			}
			checkDisk(t, dir, n)

			disk.fail, disk.torn = 0, false
			again := put(t, s, content)
			if got, err := read(s, again); err != nil || got != content || s.Used() > 4000 {
				t.Errorf("call %d: after recovery: %v", n, err)
			}
		}
	}
}

// checkDisk opens dir anew, as after a crash: all that is there must be right.
func checkDisk(t *testing.T, dir string, n int) {
	t.Helper()
	after := open(t, dir, Options{})
	var total int64
	for d, e := range after.entries {
		total += e.size
		if err := after.Verify(t.Context(), d); err != nil {
			t.Errorf("call %d: wrong content: %v", n, err)
		}
	}
	if after.Used() != total || temps(t, dir) != 0 {
		t.Errorf("call %d: %d bytes counted of %d; %d torn files", n, after.Used(), total, temps(t, dir))
	}
}
