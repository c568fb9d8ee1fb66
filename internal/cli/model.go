package cli

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/dustin/go-humanize/english"
	"github.com/spf13/cobra"

	"atoll/api"
	"atoll/client"
	"atoll/internal/cli/term"
	"atoll/internal/core"
	"atoll/internal/corpus"
	"atoll/internal/durable"
	"atoll/internal/learn/text"
)

func (s *session) modelCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "model",
		Short: "Train, import, register and list models",
		Example: `  atoll model train --data requests.csv --output triage.model --push triage
  atoll model import qwen3-0.6b.gguf --name qwen
  atoll model push redact.wasm --name redact
  atoll model list`,
	}
	list := s.verb("list", "List all versions of all models", "atoll model list", cobra.NoArgs, func(cmd *cobra.Command, c *client.Client, _ []string) error {
		return showAll(s, c.Models(cmd.Context()), 0, "MODEL ENGINE SIZE OWNER REPRODUCIBLE DIGEST CREATED", func(m api.Model) []string {
			return []string{m.ID, m.Engine, bytesOf(m.Size), string(m.OwnedBy), yes(m.Reproducible, "yes"), m.Digest.Short(), clock(time.Unix(m.Created, 0))}
		})
	})
	s.jsonFlag(list)
	cmd.AddCommand(s.modelTrainCmd(), s.modelImportCmd(), s.modelPushCmd(), s.modelRegisterCmd(), list)
	return cmd
}

// trainFlags say how to train.
type trainFlags struct {
	data, output, push string
	epochs, holdout    int
	seed               uint64
}

func (s *session) modelTrainCmd() *cobra.Command {
	var f trainFlags
	cmd := &cobra.Command{
		Use: "train --data FILE --output MODEL", Short: "Train a text classifier on this machine", Args: cobra.NoArgs,
		Long: `Train a classifier of short texts (support requests, messages, mail) on labelled
examples: a CSV with a header line, or JSON Lines, with the fields text and label.
Some examples are kept apart to measure it on; the accuracy printed is theirs,
beside that of always naming the most frequent label. Equal data and flags give
equal bytes on every machine.`,
		Example: "  atoll model train --data requests.csv --output triage.model --push triage",
		RunE:    func(cmd *cobra.Command, _ []string) error { return s.train(cmd.Context(), &f) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.data, "data", "", "`FILE` of labelled examples, .csv or .jsonl, or - for standard input (required)")
	fl.StringVar(&f.output, "output", "", "`FILE` to write the model to")
	fl.StringVar(&f.push, "push", "", "`NAME` under which to register it with the hub, too")
	fl.IntVar(&f.epochs, "epochs", 12, "`NUMBER` of passes over the examples, 1 to 1000")
	fl.IntVar(&f.holdout, "holdout", 10, "`PERCENT` of the examples kept apart to measure on, 0 to 50")
	fl.Uint64Var(&f.seed, "seed", 0, "`NUMBER` that decides the order of examples and which are kept apart")
	_ = cmd.MarkFlagFilename("data", "csv", "jsonl", "ndjson")
	_ = cmd.MarkFlagFilename("output")
	s.jsonFlag(cmd)
	return cmd
}

// trained is what train prints with --json.
type trained struct {
	Report   text.Report `json:"report"`
	Examples int         `json:"examples"`
	Labels   int         `json:"labels"`
	Digest   core.Digest `json:"digest"`
	Size     int         `json:"size"`
	Output   string      `json:"output,omitempty"`
	Model    *api.Model  `json:"model,omitempty"`
}

func (s *session) train(ctx context.Context, f *trainFlags) error {
	if f.data == "" || f.output == "" && f.push == "" {
		return usagef("training needs --data, and --output or --push")
	}
	if f.epochs < 1 || f.epochs > 1000 {
		return usagef("--epochs %d: want 1 to 1000", f.epochs)
	}
	if f.holdout < 0 || f.holdout > 50 {
		return usagef("--holdout %d: want 0 to 50 percent", f.holdout)
	}
	if f.push != "" {
		if err := core.CheckName("model", f.push); err != nil {
			return usagef("--push: %w", err)
		}
	}
	holdout := f.holdout
	if holdout == 0 {
		holdout = -1 // in text.Options zero is the default
	}
	examples, err := s.readExamples(f.data)
	if err != nil {
		return err
	}
	m, report, err := trainModel(ctx, s.err, examples, text.Options{Epochs: f.epochs, Holdout: holdout, Seed: f.seed})
	if err != nil {
		return err
	}
	file := m.Marshal()
	out := trained{Report: report, Examples: len(examples), Labels: len(m.Labels()), Digest: core.DigestOf(file), Size: len(file), Output: f.output}
	if f.output != "" {
		if err := durable.WriteFile(f.output, file, durable.Public); err != nil {
			return err
		}
	}
	if f.push != "" {
		c, err := s.client()
		if err != nil {
			return err
		}
		model, err := push(ctx, c, file, client.NewModel{Name: f.push, Engine: "text"})
		if err != nil {
			return err
		}
		out.Model = &model
	}
	if s.asJSON {
		return s.printJSON(out)
	}
	return s.printTrained(&out)
}

func (s *session) printTrained(t *trained) error {
	registered := ""
	if t.Model != nil {
		registered = t.Model.ID
	}
	accuracy, f1 := "not measured: no examples were kept apart", ""
	if n := t.Report.Examples; n > 0 {
		accuracy = fmt.Sprintf("%s on %s kept apart (always the most frequent label: %s)", t.Report.Accuracy, english.Plural(n, "example", ""), t.Report.Majority)
		f1 = t.Report.MacroF1.String()
	}
	err := s.out.Fields("examples", fmt.Sprintf("%d, of %s", t.Examples, english.Plural(t.Labels, "label", "")),
		"accuracy", accuracy, "macro F1", f1, "file", yes(t.Output != "", fmt.Sprintf("%s, %s", t.Output, bytesOf(int64(t.Size)))),
		"digest", t.Digest.String(), "registered", registered)
	if err == nil && t.Model == nil {
		s.hint("register it: atoll model push %s --name NAME", t.Output)
	}
	return err
}

// readExamples reads a file of examples, or standard input if path is "-".
func (s *session) readExamples(path string) ([]corpus.Example, error) {
	if path == "-" {
		examples, err := corpus.Read(s.env.Stdin, "")
		if err != nil {
			return nil, fmt.Errorf("standard input: %w", err)
		}
		return examples, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	examples, err := corpus.Read(f, path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return examples, nil
}

// trainModel trains with a progress bar.
func trainModel(ctx context.Context, out term.Out, examples []text.Example, opt text.Options) (*text.Model, text.Report, error) {
	bar := out.Bar("training", 1)
	defer bar.Done()
	return text.Train(ctx, examples, opt, func(p text.Progress) { bar.Set(p.Done, p.Total, "") })
}

func (s *session) modelPushCmd() *cobra.Command {
	var m client.NewModel
	cmd := s.verb("push FILE", "Upload a model and register its next version", "atoll model push redact.wasm --name redact --description 'takes out addresses'", cobra.ExactArgs(1), func(cmd *cobra.Command, c *client.Client, args []string) error {
		data, err := s.readFile(args[0], maxModel)
		if err != nil {
			return err
		}
		if m.Engine == "" {
			if m.Engine = engineOf(data); m.Engine == "" {
				return usagef("%s is neither a WebAssembly module nor a text or language model (GGUF); name its --engine", args[0])
			}
		}
		if m.Name == "" {
			base := filepath.Base(args[0])
			m.Name = strings.TrimSuffix(base, filepath.Ext(base))
		}
		if err := core.CheckName("model", m.Name); err != nil {
			return usagef("%w; give one with --name", err)
		}
		model, err := push(cmd.Context(), c, data, m)
		if err != nil {
			return err
		}
		if s.asJSON {
			return s.printJSON(model)
		}
		fmt.Fprintln(s.out, model.ID)
		s.hint("use it: atoll submit --model %s --input FILE", model.ID)
		return nil
	})
	cmd.Long = `Upload a model file and give it a name. The same bytes under the same name stay
the same version; other bytes become the next one.`
	cmd.Flags().StringVar(&m.Name, "name", "", "`NAME` of the model (default: the file's, without its ending)")
	cmd.Flags().StringVar(&m.Engine, "engine", "", "`ENGINE` that runs it: llm, text or wasm (default: seen from the file)")
	cmd.Flags().StringVar(&m.Description, "description", "", "`TEXT` that says what it does")
	s.jsonFlag(cmd)
	return cmd
}

// maxModel bounds a model file that is uploaded from memory.
const maxModel = 256 << 20

// engineOf recognises a model by its first bytes.
func engineOf(file []byte) string {
	switch {
	case bytes.HasPrefix(file, []byte("\x00asm")):
		return "wasm"
	case bytes.HasPrefix(file, []byte("atolltxt")):
		return "text"
	case bytes.HasPrefix(file, []byte("GGUF")):
		return "llm"
	}
	return ""
}

func push(ctx context.Context, c *client.Client, file []byte, m client.NewModel) (api.Model, error) {
	b, err := c.PutBlob(ctx, file)
	if err != nil {
		return api.Model{}, fmt.Errorf("upload: %w", err)
	}
	m.Digest = b.Digest
	return c.RegisterModel(ctx, m)
}
