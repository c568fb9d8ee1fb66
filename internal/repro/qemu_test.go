//go:build qemu

package repro_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestEmulated runs the vectors and rules on other processors, emulated:
//
//	apt-get install qemu-user-static
//	go test -tags qemu -run TestEmulated ./internal/repro
//
// arm64 covers NEON and Go's fused multiply-add, s390x also big endian, riscv64 and
// ppc64le more compilers that fuse. It takes about a minute, hence the tag.
func TestEmulated(t *testing.T) {
	for arch, qemu := range map[string]string{
		"arm64": "qemu-aarch64", "s390x": "qemu-s390x", "riscv64": "qemu-riscv64", "ppc64le": "qemu-ppc64le",
	} {
		t.Run(arch, func(t *testing.T) {
			bin := filepath.Join(t.TempDir(), "repro.test")
			build := exec.Command("go", "test", "-c", "-o", bin, ".")
			build.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+arch, "CGO_ENABLED=0")
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("build: %v\n%s", err, out)
			}
			emulator, err := emulatorOf(qemu)
			if err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command(emulator, bin, "-test.run", "TestVectors|TestGolden|FollowsRule").CombinedOutput()
			if err != nil {
				t.Fatalf("%s: %v\n%s", emulator, err, out)
			}
		})
	}
}

// emulatorOf finds an emulator by the name of the package qemu-user or of
// qemu-user-static.
func emulatorOf(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		path, err = exec.LookPath(name + "-static")
	}
	if err != nil {
		return "", fmt.Errorf("%w; install it with: apt-get install qemu-user-static", err)
	}
	return path, nil
}
