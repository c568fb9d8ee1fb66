package weights

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"atoll/internal/core"
	"atoll/internal/llm/gguf"
	"atoll/internal/llm/quant"
	"atoll/internal/llm/safetensors"
	"atoll/internal/llm/tokenizer"
)

// Model is an opened model. It is immutable; Close it when done.
type Model struct {
	Path   string
	Format string // "gguf", "safetensors" or "llama2.c"
	Config Config
	Vocab  *tokenizer.Vocab // as many tokens as Config.Vocab
	// License is what the file says of its licence, or "".
	License string

	tensors map[ID]*Tensor
	files   []io.Closer
}

// Options are what a path does not say.
type Options struct {
	// Tokenizer is the path of tok.bin, which a llama2.c checkpoint needs and
	// nothing else takes.
	Tokenizer string
}

// Open opens the model at path, a file or a directory.
func Open(path string, o Options) (*Model, error) {
	m := &Model{Path: path}
	if err := m.open(o); err != nil {
		_ = m.Close()
		return nil, explain(path, err)
	}
	return m, nil
}

// FromGGUF opens a GGUF file of size bytes that is kept anywhere, such as in a
// store of blobs. name stands for the path in errors. r must stay open as long as
// the model is used; Close does not close it.
func FromGGUF(name string, r io.ReaderAt, size int64) (*Model, error) {
	m := &Model{Path: name}
	if err := m.readGGUF(r, size); err != nil {
		return nil, explain(name, err)
	}
	return m, nil
}

func (m *Model) open(o Options) error {
	info, err := os.Stat(m.Path)
	if err != nil {
		return err
	}
	if info.IsDir() {
		if o.Tokenizer != "" {
			return errExtraTokenizer
		}
		return m.readDirectory()
	}
	f, size, err := m.file(m.Path)
	if err != nil {
		return err
	}
	var magic [4]byte
	if _, err := f.ReadAt(magic[:], 0); err != nil {
		return fmt.Errorf("%w: %d bytes are too few for any model", errMalformed, size)
	}
	if string(magic[:]) == "GGUF" {
		if o.Tokenizer != "" {
			return errExtraTokenizer
		}
		return m.readGGUF(f, size)
	}
	return m.readLlama2c(f, size, o.Tokenizer)
}

var errExtraTokenizer = fmt.Errorf("%w: a tokenizer was given, but this model brings its own; leave it out", errMalformed)

// file opens a regular file and has Close close it.
func (m *Model) file(path string) (*os.File, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	m.files = append(m.files, f)
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("%w: %s is not a regular file", errMalformed, path)
	}
	return f, info.Size(), nil
}

// Close closes the model's files.
func (m *Model) Close() error {
	var errs []error
	for _, f := range m.files {
		errs = append(errs, f.Close())
	}
	m.files = nil
	return errors.Join(errs...)
}

// Tensor returns a tensor by its ID. Where embeddings are tied, Output is the
// token embedding. It fails if the model's Config has no such tensor.
func (m *Model) Tensor(id ID) (*Tensor, error) {
	if id.Part == Output && m.Config.TiedEmbeddings {
		id.Part = TokenEmbedding
	}
	t, ok := m.tensors[id]
	if !ok {
		return nil, fmt.Errorf("%s: the model has no tensor %v in layer %d", m.Path, id, id.Layer)
	}
	return t, nil
}

// Verify reads every weight and fails at the first that is not finite.
func (m *Model) Verify(ctx context.Context) error {
	var row []float32
	for _, id := range m.Config.Tensors() {
		t := m.tensors[id]
		n := max(1, chunk/4/t.Cols)
		row = append(row[:0], make([]float32, n*t.Cols)...)
		for r := 0; r < t.Rows; r += n {
			if err := ctx.Err(); err != nil {
				return err
			}
			k := min(n, t.Rows-r)
			if err := t.ReadRows(row[:k*t.Cols], r, k); err != nil {
				return err
			}
		}
	}
	return nil
}

// add takes a tensor that was found in a file and proves its shape.
func (m *Model) add(id ID, t Tensor) error {
	rows, cols := m.Config.Shape(id.Part)
	if t.Rows != rows || t.Cols != cols {
		return fmt.Errorf("%w: tensor %s has %d rows of %d, but the hyperparameters call for %d of %d", errMalformed, t.Name, t.Rows, t.Cols, rows, cols)
	}
	if _, err := t.Type.RowBytes(t.Cols); err != nil {
		return fmt.Errorf("tensor %s: %w", t.Name, err)
	}
	t.ID = id
	if m.tensors == nil {
		m.tensors = map[ID]*Tensor{}
	}
	m.tensors[id] = &t
	return nil
}

// tokens sets the vocabulary and proves that each token has a row of the
// embedding.
func (m *Model) tokens(v *tokenizer.Vocab, err error) error {
	if err != nil {
		return err
	}
	if len(v.Tokens) != m.Config.Vocab {
		return fmt.Errorf("%w: the tokenizer has %d tokens, the embedding %d rows; they are not of the same model", errMalformed, len(v.Tokens), m.Config.Vocab)
	}
	m.Vocab = v
	return nil
}

// explain makes an error for the edge: it names the file and says what to do.
func explain(path string, err error) error {
	e := &core.Error{Kind: core.Internal, Message: fmt.Sprintf("%s: %v", path, err), Err: err}
	if pathErr, ok := errors.AsType[*os.PathError](err); ok && pathErr.Path == path {
		e.Message = err.Error() // it names the file itself
	}
	switch {
	case errors.Is(err, os.ErrNotExist):
		e.Kind, e.Hint = core.NotFound, "a model is a GGUF file, a directory with config.json, or a llama2.c checkpoint"
	case errors.Is(err, errUnsupported), errors.Is(err, quant.ErrType):
		e.Kind, e.Hint = core.Unsupported, "choose another model, or another quantisation of this one"
	case errors.Is(err, errMalformed), errors.Is(err, gguf.ErrFormat), errors.Is(err, safetensors.ErrFormat), errors.Is(err, tokenizer.ErrVocab):
		e.Kind, e.Hint = core.Invalid, "fetch the model again, or convert it anew from its original files"
	}
	return e
}
