package table_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"atoll/internal/table"
)

func TestIDX(t *testing.T) {
	t.Parallel()
	images := []byte("\x00\x00\x08\x03\x00\x00\x00\x02\x00\x00\x00\x01\x00\x00\x00\x03\x00\x33\xff\xff\x00\x66")
	labels := []byte("\x00\x00\x08\x01\x00\x00\x00\x02\x07\x01")
	e, err := table.ReadIDX(bytes.NewReader(images), bytes.NewReader(labels))
	if err != nil || e.Width != 3 || !slices.Equal(e.X, []float32{0, 0.2, 1, 1, 0, 0.4}) || !slices.Equal(e.Labels, []int32{7, 1}) {
		t.Errorf("%+v, %v", e, err)
	}
	for want, files := range map[string][2][]byte{
		"labels: idx: it begins with":          {images, images},
		"labels: idx: its header":              {images, labels[:5]},
		"image 1 of 2":                         {images[:20], labels},
		"label 1 of 2":                         {images, labels[:9]},
		"2 images of 1×3 pixels with 3 labels": {images, bytes.Replace(labels, []byte{2}, []byte{3}, 1)},
	} {
		if _, err := table.ReadIDX(bytes.NewReader(files[0]), bytes.NewReader(files[1])); !errors.Is(err, table.ErrIDX) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func FuzzIDX(f *testing.F) {
	f.Add([]byte("\x00\x00\x08\x03\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x01\x01"), []byte("\x00\x00\x08\x01\x00\x00\x00\x01\x07"))
	f.Fuzz(func(t *testing.T, images, labels []byte) {
		e, err := table.ReadIDX(bytes.NewReader(images), bytes.NewReader(labels))
		if err == nil && e.Len() > 0 && e.Check(256) != nil || err != nil && !errors.Is(err, table.ErrIDX) {
			t.Fatalf("%+v, %v", e, err)
		}
	})
}
