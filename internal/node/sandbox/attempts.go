package sandbox

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// attempt is one thing that a confined child must not be able to do: try
// returns an error when it is denied.
type attempt struct {
	what string
	try  func() (string, error)
}

// attempts are tried by every probe; each system adds its own.
func attempts() []attempt {
	return append([]attempt{
		{"open a TCP socket", func() (string, error) {
			l, err := net.Listen("tcp4", "127.0.0.1:0")
			if err != nil {
				return "", err
			}
			return "listening", l.Close()
		}},
		{"open a UDP socket", func() (string, error) {
			c, err := net.ListenPacket("udp4", "127.0.0.1:0")
			if err != nil {
				return "", err
			}
			return "bound", c.Close()
		}},
		{"list a directory", func() (string, error) {
			_, err := os.ReadDir(string(filepath.Separator))
			return "the root was listed", err
		}},
		{"write a file", func() (string, error) {
			f, err := os.CreateTemp("", "sandbox-probe-")
			if err != nil {
				return "", err
			}
			defer os.Remove(f.Name())
			defer f.Close()
			if _, err := f.WriteString("x"); err != nil {
				return "", err
			}
			return "a temporary file was written", nil
		}},
		{"start a program", func() (string, error) {
			exe, err := selfPath()
			if err != nil {
				return "", err
			}
			// Without arguments for a worker this prints usage and ends.
			cmd := exec.Command(exe, Arg)
			err = cmd.Run()
			if _, ran := errors.AsType[*exec.ExitError](err); ran {
				err = nil
			}
			return "a child ran", err
		}},
		{"see the parent's environment", func() (string, error) {
			if env := os.Environ(); len(env) > 0 {
				names := make([]string, 0, len(env))
				for _, kv := range env {
					name, _, _ := strings.Cut(kv, "=")
					names = append(names, name)
				}
				return fmt.Sprintf("%d variables: %.200s", len(env), strings.Join(names, " ")), nil
			}
			return "", errors.New("the environment is empty")
		}},
	}, systemAttempts()...)
}
