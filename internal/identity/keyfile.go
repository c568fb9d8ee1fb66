package identity

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"atoll/internal/core"
	"atoll/internal/durable"
)

// Errors of key files.
var (
	// ErrPermissions means that others can read a private key.
	ErrPermissions = errors.New("permissions too open")
	// ErrKeyFile means that a file does not hold the key it should.
	ErrKeyFile = errors.New("not a usable key file")
)

const pemPrivate = "PRIVATE KEY"

// loadOrCreate returns the PKCS#8 key in dir/name.pem, calling generate for a
// new one if there is none. The directory is made if need be.
func loadOrCreate(dir, name string, generate func() (crypto.PrivateKey, error)) (crypto.PrivateKey, error) {
	if err := core.CheckName("key", name); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make key directory: %w", err)
	}
	path := filepath.Join(dir, name+".pem")
	key, err := readKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	key, err = generate()
	if err != nil {
		return nil, fmt.Errorf("generate key %s: %w", name, err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode key %s: %w", name, err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: pemPrivate, Bytes: der})
	if err := durable.Create(path, text, durable.Private); err != nil {
		return nil, fmt.Errorf("store key %s: %w", name, err)
	}
	return readKey(path) // whoever came first has won
}

func readKey(path string) (crypto.PrivateKey, error) {
	text, err := readPrivate(path)
	if err != nil {
		return nil, err
	}
	key, err := parsePrivatePEM(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// parsePrivatePEM accepts exactly one PKCS#8 block and nothing after it.
func parsePrivatePEM(text []byte) (crypto.PrivateKey, error) {
	block, rest := pem.Decode(text)
	if block == nil || block.Type != pemPrivate || len(rest) != 0 {
		return nil, fmt.Errorf("%w: want one PEM block of type %s", ErrKeyFile, pemPrivate)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeyFile, err)
	}
	return key, nil
}

// readPrivate reads a small file that nobody else may read.
func readPrivate(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: %w: not a regular file", path, ErrKeyFile)
	}
	// Windows has no such bits; access there follows the directory's ACL.
	if mode := info.Mode().Perm(); mode&0o077 != 0 && runtime.GOOS != "windows" {
		return nil, fmt.Errorf("%s: %w: mode %#o lets others in, want 0600; if nobody else had access, run chmod 600",
			path, ErrPermissions, mode)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxKeyFile {
		return nil, fmt.Errorf("%s: %w: larger than %d bytes", path, ErrKeyFile, maxKeyFile)
	}
	return text, nil
}
