package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"atoll/api"
	"atoll/client"
	"atoll/internal/core"
	"atoll/internal/durable"
	"atoll/internal/llm/quant"
	"atoll/internal/llm/weights"
)

// importFlags say what becomes of a language model.
type importFlags struct {
	tokenizer, format, output string
	model                     client.NewModel
}

func (s *session) modelImportCmd() *cobra.Command {
	f := importFlags{model: client.NewModel{Engine: "llm"}}
	cmd := &cobra.Command{
		Use: "import PATH", Short: "Convert a language model and register it", Args: cobra.ExactArgs(1),
		Long: `Read a language model of the Llama family (Llama, Mistral, Qwen 2 and 3), convert
it into one canonical file and give it a name. Equal models give equal bytes on
every machine, whatever file they came in. PATH may be

  a GGUF file             F32, F16, BF16, Q8_0, Q4_0, Q4_K, Q6_K
  a directory             config.json, safetensors, tokenizer.json
  a llama2.c checkpoint   with --tokenizer tok.bin

Weights are kept as Q8_0 unless --format says f32. With --output the file is
written and nothing is registered.`,
		Example: "  atoll model import qwen3-0.6b.gguf --name qwen\n  atoll model import stories260K.bin --tokenizer tok512.bin --name stories --format f32",
		RunE:    func(cmd *cobra.Command, args []string) error { return s.importModel(cmd.Context(), args[0], &f) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.model.Name, "name", "", "`NAME` of the model (default: the file's, without its ending)")
	fl.StringVar(&f.model.Description, "description", "", "`TEXT` that says what it is")
	fl.StringVar(&f.tokenizer, "tokenizer", "", "`FILE` with the tokenizer of a llama2.c checkpoint")
	fl.StringVar(&f.format, "format", "q8_0", "`FORMAT` of the weights: q8_0 or f32")
	fl.StringVar(&f.output, "output", "", "`FILE` to write the canonical model to, instead of registering it")
	_ = cmd.MarkFlagFilename("tokenizer")
	_ = cmd.MarkFlagFilename("output")
	s.jsonFlag(cmd)
	return cmd
}

// imported is what import prints with --json.
type imported struct {
	Format string      `json:"format"`
	Arch   string      `json:"arch"`
	Layers int         `json:"layers"`
	Digest core.Digest `json:"digest"`
	Size   int64       `json:"size"`
	Output string      `json:"output,omitempty"`
	Model  *api.Model  `json:"model,omitempty"`
}

func (s *session) importModel(ctx context.Context, path string, f *importFlags) error {
	format := quant.Q8_0
	switch f.format {
	case "q8_0":
	case "f32":
		format = quant.F32
	default:
		return usagef("--format %s: want q8_0 or f32", f.format)
	}
	if f.model.Name == "" {
		base := filepath.Base(filepath.Clean(path))
		f.model.Name = strings.ToLower(strings.TrimSuffix(base, filepath.Ext(base)))
	}
	if err := core.CheckName("model", f.model.Name); err != nil && f.output == "" {
		return usagef("%w; give one with --name", err)
	}
	m, err := weights.Open(path, weights.Options{Tokenizer: f.tokenizer})
	if err != nil {
		return err
	}
	defer m.Close()
	out := imported{Format: m.Format, Arch: string(m.Config.Arch), Layers: m.Config.Layers, Output: f.output}
	if f.output != "" {
		if err := durable.Replace(f.output, durable.Public, func(w io.Writer) error { return m.Export(ctx, w, format) }); err != nil {
			return err
		}
		if out.Digest, out.Size, err = digestFile(f.output); err != nil {
			return err
		}
	} else if err := s.registerImport(ctx, m, format, f, &out); err != nil {
		return err
	}
	if s.asJSON {
		return s.printJSON(out)
	}
	if out.Model == nil {
		fmt.Fprintln(s.out, out.Digest)
		s.hint("%s, %s. Register it: atoll model push %s --name NAME", f.output, bytesOf(out.Size), f.output)
		return nil
	}
	fmt.Fprintln(s.out, out.Model.ID)
	s.hint(`use it: echo '{"prompt": "Once upon a time", "max_tokens": 64}' | atoll submit --model %s --input - --watch`, out.Model.ID)
	return nil
}

// registerImport converts into a temporary file and uploads that.
func (s *session) registerImport(ctx context.Context, m *weights.Model, format quant.Type, f *importFlags, out *imported) (err error) {
	c, err := s.client()
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp("", "atoll-model-*.gguf")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tmp.Close(), os.Remove(tmp.Name())) }()
	if err := m.Export(ctx, tmp, format); err != nil {
		return err
	}
	info, err := tmp.Stat()
	if err != nil {
		return err
	}
	b, err := c.PutFile(ctx, tmp, info.Size())
	if err != nil {
		return fmt.Errorf("upload: %w", err)
	}
	f.model.Digest, out.Digest, out.Size = b.Digest, b.Digest, b.Size
	model, err := c.RegisterModel(ctx, f.model)
	out.Model = &model
	return err
}
