package weights

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"atoll/internal/llm/safetensors"
	"atoll/internal/llm/tokenizer"
)

// The files of a directory of Hugging Face's, and how large each may be.
const (
	fileConfig          = "config.json"
	fileWeights         = "model.safetensors"
	fileIndex           = "model.safetensors.index.json"
	fileTokenizer       = "tokenizer.json"
	fileTokenizerConfig = "tokenizer_config.json"
	fileGeneration      = "generation_config.json"
	fileTemplate        = "chat_template.jinja"

	maxConfig    = 1 << 20
	maxIndex     = 16 << 20
	maxTokenizer = 64 << 20
)

func (m *Model) readDirectory() error {
	m.Format = "safetensors"
	config, err := m.read(fileConfig, maxConfig)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("a directory must hold a model as Hugging Face publishes it: %w", err)
	}
	if err != nil {
		return err
	}
	if m.Config, err = parseConfig(config); err != nil {
		return fmt.Errorf("%s: %w", fileConfig, err)
	}
	found, err := m.shards()
	if err != nil {
		return err
	}
	if m.Config.TiedEmbeddings { // some writers store the shared matrix twice
		delete(found, ID{Part: Output}.huggingFace())
	}
	for name := range found {
		if strings.HasSuffix(name, ".rotary_emb.inv_freq") { // computed from the base
			delete(found, name)
		}
	}
	for _, id := range m.Config.Tensors() {
		name := id.huggingFace()
		t, ok := found[name]
		if !ok {
			return fmt.Errorf("%w: tensor %s is missing, which %s calls for", errMalformed, name, fileConfig)
		}
		delete(found, name)
		if err := m.addSafetensor(id, t); err != nil {
			return err
		}
	}
	if err := leftover(found); err != nil {
		return err
	}
	return m.readTokenizer()
}

// shard is a tensor and the file that it is in.
type shard struct {
	safetensors.Tensor
	file *os.File
}

func (m *Model) addSafetensor(id ID, t shard) error {
	kind, err := t.Type()
	if err != nil {
		return fmt.Errorf("tensor %s: %w", t.Name, err)
	}
	out := Tensor{Name: t.Name, File: t.file.Name(), Type: kind, Rows: 1, Offset: t.Offset, src: t.file}
	switch {
	case id.Part.vector() && len(t.Dims) == 1:
		out.Cols = t.Dims[0]
	case !id.Part.vector() && len(t.Dims) == 2:
		out.Rows, out.Cols = t.Dims[0], t.Dims[1]
	default:
		return fmt.Errorf("%w: tensor %s has the shape %v", errMalformed, t.Name, t.Dims)
	}
	return m.add(id, out)
}

// shards opens the weights, one file or those of an index, and returns all
// tensors by name.
func (m *Model) shards() (map[string]shard, error) {
	files := []string{fileWeights}
	var of map[string]string
	index, err := m.read(fileIndex, maxIndex)
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return nil, err
	default:
		if files, of, err = safetensors.ReadIndex(index); err != nil {
			return nil, err
		}
	}
	found := map[string]shard{}
	for _, name := range files {
		f, size, err := m.file(filepath.Join(m.Path, name))
		if errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("%w: %s is missing", errMalformed, name)
		} else if err != nil {
			return nil, err
		}
		tensors, err := safetensors.Read(f, size)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		for _, t := range tensors {
			if of != nil && of[t.Name] != name {
				return nil, fmt.Errorf("%w: tensor %s is in %s, but the index says %q", errMalformed, t.Name, name, of[t.Name])
			}
			found[t.Name] = shard{t, f}
		}
	}
	for name, file := range of {
		if _, ok := found[name]; !ok {
			return nil, fmt.Errorf("%w: tensor %s is not in %s, where the index says it is", errMalformed, name, file)
		}
	}
	return found, nil
}

func (m *Model) readTokenizer() error {
	var files tokenizer.HFFiles
	for name, b := range map[string]*[]byte{
		fileTokenizer: &files.Tokenizer, fileTokenizerConfig: &files.Config,
		fileGeneration: &files.Generation, fileTemplate: &files.Template,
	} {
		var err error
		*b, err = m.read(name, maxTokenizer)
		if err != nil && (name == fileTokenizer || !errors.Is(err, os.ErrNotExist)) {
			return err
		}
	}
	v, err := tokenizer.FromHF(files)
	if err == nil {
		if m.Config.Vocab < len(v.Tokens) {
			return fmt.Errorf("%w: %s has %d tokens, but vocab_size is %d", errMalformed, fileTokenizer, len(v.Tokens), m.Config.Vocab)
		}
		v.Grow(m.Config.Vocab)
	}
	return m.tokens(v, err)
}

// read returns a whole small file of the directory.
func (m *Model) read(name string, most int64) ([]byte, error) {
	path := filepath.Join(m.Path, name)
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > most {
		return nil, fmt.Errorf("%w: %s is over %d bytes", errMalformed, path, most)
	}
	return b, nil
}
