package table

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"atoll/internal/learn"
)

// ErrIDX means that bytes are not IDX files of images and their labels.
var ErrIDX = errors.New("idx")

// ReadIDX reads a file of images and one of their labels, in the format of MNIST (IDX:
// two zero bytes, a type, here 8 for unsigned bytes, the number of dimensions, then
// each dimension as big-endian uint32, then the data). A row is an image, its pixels
// from 0 to 1.
func ReadIDX(images, labels io.Reader) (*learn.Examples, error) {
	shape, err := idxHeader(images, 3)
	if err != nil {
		return nil, fmt.Errorf("images: %w", err)
	}
	count, err := idxHeader(labels, 1)
	if err != nil {
		return nil, fmt.Errorf("labels: %w", err)
	}
	n, width := shape[0], shape[1]*shape[2]
	if n != count[0] || width < 1 || width > MaxWidth || n > MaxNumbers/width {
		return nil, fmt.Errorf("%w: %d images of %d×%d pixels with %d labels: want as many, of up to %d pixels, in all up to %d", ErrIDX, n, shape[1], shape[2], count[0], MaxWidth, MaxNumbers)
	}
	e := &learn.Examples{Width: width}
	pixels, label := make([]byte, width), make([]byte, 1)
	for i := range n { // room is made as rows come, for the header may lie
		if _, err := io.ReadFull(images, pixels); err != nil {
			return nil, fmt.Errorf("%w: image %d of %d: %w", ErrIDX, i, n, err)
		}
		if _, err := io.ReadFull(labels, label); err != nil {
			return nil, fmt.Errorf("%w: label %d of %d: %w", ErrIDX, i, n, err)
		}
		for _, p := range pixels {
			e.X = append(e.X, float32(p)/255)
		}
		e.Labels = append(e.Labels, int32(label[0]))
	}
	return e, nil
}

// idxHeader reads the header of a file of unsigned bytes with so many dimensions.
func idxHeader(r io.Reader, dimensions int) ([]int, error) {
	head := make([]byte, 4+4*dimensions)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, fmt.Errorf("%w: its header: %w", ErrIDX, err)
	}
	if want := [4]byte{0, 0, 8, byte(dimensions)}; [4]byte(head) != want {
		return nil, fmt.Errorf("%w: it begins with % x, want % x", ErrIDX, head[:4], want)
	}
	shape := make([]int, dimensions)
	for i := range shape {
		n := binary.BigEndian.Uint32(head[4+4*i:])
		if n > MaxNumbers {
			return nil, fmt.Errorf("%w: dimension %d is %d", ErrIDX, i, n)
		}
		shape[i] = int(n)
	}
	return shape, nil
}
