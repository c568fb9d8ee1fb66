package app

import (
	"io"
	"os"
	"strings"

	"atoll/internal/control"
	"atoll/internal/core"
	"atoll/internal/engine"
	"atoll/internal/engine/llm"
	"atoll/internal/engine/openai"
	"atoll/internal/engine/wasm"
	learntext "atoll/internal/learn/text"
	modelllm "atoll/internal/llm"
	"atoll/internal/llm/weights"
)

// pieces are the engines whose work can be run again in part.
var pieces = map[string]engine.Piece{"llm": llm.Piece}

// shape is what a plan over several nodes has to know of a model.
func shape(c *weights.Config, profile string) (*control.ModelShape, error) {
	p, err := modelllm.ParseProfile(profile)
	if err == nil {
		err = p.Check(c)
	}
	if err != nil {
		return nil, core.Errorf(core.Invalid, "%w", err).At("params.profile")
	}
	s := &control.ModelShape{
		Layers: c.Layers, Context: c.Context, Cache: p.CacheBytes(c), Cuts: p.Cuts(), Row: int64(p.RowsBefore(0, c).Bytes()),
	}
	if len(s.Cuts) > 0 {
		s.Row = int64(p.RowsBefore(s.Cuts[0], c).Bytes())
	}
	for _, id := range c.Tensors() {
		rows, cols := c.Shape(id.Part)
		size := p.WeightBytes(rows, cols)
		switch {
		case id.Part >= weights.AttnNorm && id.Layer == 0:
			s.Layer += size
		case id.Part == weights.TokenEmbedding:
			s.Embedding = size
		case id.Part == weights.Output:
			s.Output = size
		}
	}
	if c.TiedEmbeddings {
		s.Output = s.Embedding
	}
	s.Shares, s.Parts = func(speeds []int) ([]float64, error) { return p.Shares(c, speeds) }, p.PartBytes(c)
	return s, nil
}

// maxInspect bounds the models of engines whose files are read whole.
const maxInspect = 256 << 20

// inspectModel looks at an uploaded model without running it: what is not a
// model of its engine is refused here, before it has a name.
func inspectModel(name, path string) (control.ModelFacts, error) {
	f, err := os.Open(path)
	if err != nil {
		return control.ModelFacts{}, err
	}
	defer f.Close()
	switch name {
	case "llm":
		info, err := f.Stat()
		if err != nil {
			return control.ModelFacts{}, err
		}
		w, err := weights.FromGGUF("the file", f, info.Size())
		if err != nil {
			return control.ModelFacts{}, err
		}
		c := w.Config
		return control.ModelFacts{Reproducible: true, Shape: func(profile string) (*control.ModelShape, error) { return shape(&c, profile) }}, nil
	case openai.Name:
		data, err := wholeModel(f, name)
		if err != nil {
			return control.ModelFacts{}, err
		}
		m, err := openai.ParseManifest(data)
		if err != nil {
			return control.ModelFacts{}, core.Errorf(core.Invalid, "%w", err).WithHint("make one with: atoll model register --engine openai --upstream NAME")
		}
		return control.ModelFacts{Upstream: m.Upstream, Reference: m.Reference}, nil
	case "text":
		data, err := wholeModel(f, name)
		if err != nil {
			return control.ModelFacts{}, err
		}
		if _, err := learntext.Parse(data); err != nil {
			return control.ModelFacts{}, core.Errorf(core.Invalid, "not a text model: %w", err).WithHint("train one with: atoll model train")
		}
		return control.ModelFacts{Reproducible: true}, nil
	case "wasm":
		data, err := wholeModel(f, name)
		if err != nil {
			return control.ModelFacts{}, err
		}
		floats, err := wasm.Inspect(data)
		if err != nil {
			return control.ModelFacts{}, core.Errorf(core.Invalid, "%w", err)
		}
		return control.ModelFacts{Reproducible: true, Floats: floats}, nil
	}
	return control.ModelFacts{}, core.Errorf(core.Invalid, "engine %.40q is not known here", name).At("engine").WithHint("engines: " + strings.Join(engineNames, ", "))
}

func wholeModel(r io.Reader, engine string) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxInspect+1))
	if err == nil && len(data) > maxInspect {
		err = core.Errorf(core.TooLarge, "models of engine %s have at most %d MiB", engine, maxInspect>>20)
	}
	return data, err
}
