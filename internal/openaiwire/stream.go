package openaiwire

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
)

// A stream is a sequence of server-sent events, each one line "data: " with a JSON
// object and an empty line, and then the event [DONE].
const (
	dataField = "data:"
	done      = "[DONE]"
)

// maxEvent bounds an event that is read, in bytes.
const maxEvent = 4 << 20

// Done ends a stream.
var Done = []byte("data: [DONE]\n\n")

// AppendEvent adds an event with the given JSON, which has no line breaks.
func AppendEvent(b, json []byte) []byte {
	b = append(b, dataField...)
	b = append(b, ' ')
	b = append(b, json...)
	return append(b, "\n\n"...)
}

// ErrCut means that a stream ended without [DONE].
var ErrCut = errors.New("the stream was cut short")

// Events reads the JSON of each event until [DONE]. What is yielded is valid until
// the next.
func Events(r io.Reader) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		lines := bufio.NewScanner(r)
		lines.Buffer(nil, maxEvent)
		for lines.Scan() {
			data, ok := bytes.CutPrefix(lines.Bytes(), []byte(dataField))
			if !ok {
				continue // comments, and fields that the API does not use
			}
			data = bytes.TrimSpace(data)
			if string(data) == done || !yield(data, nil) {
				return
			}
		}
		if err := lines.Err(); err != nil {
			yield(nil, fmt.Errorf("%w: %w", ErrCut, err))
			return
		}
		yield(nil, ErrCut)
	}
}
