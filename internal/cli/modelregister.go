package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"atoll/client"
	"atoll/internal/core"
	"atoll/internal/engine/openai"
)

func (s *session) modelRegisterCmd() *cobra.Command {
	var upstream, reference string
	m := client.NewModel{Engine: openai.Name}
	cmd := s.verb("register --upstream MODEL --name NAME", "Register a model that providers serve from their own servers", "atoll model register --engine openai --upstream qwen2.5:7b --name qwen\natoll model register --engine openai --upstream stories --reference stories@1 --name stories-gpu", cobra.NoArgs, func(cmd *cobra.Command, c *client.Client, _ []string) error {
		if m.Engine != openai.Name {
			return usagef("--engine %s: only models of providers' own OpenAI-compatible servers (openai) have no file; for others: atoll model push, atoll model import", m.Engine)
		}
		if upstream == "" {
			return usagef("--upstream: say what the model is called at those servers, as their GET /v1/models has it")
		}
		if err := core.CheckName("model", m.Name); err != nil {
			return usagef("%w; give one with --name", err)
		}
		var checked core.Digest
		if reference != "" {
			r, err := c.Model(cmd.Context(), reference)
			if err != nil {
				return fmt.Errorf("--reference: %w", err)
			}
			if r.Engine != "llm" {
				return usagef("--reference %s is of the engine %s: want a language model of the engine llm, with the same weights", reference, r.Engine)
			}
			checked = r.Digest
		}
		manifest, err := openai.Encode(upstream, checked)
		if err != nil {
			return usageError{err}
		}
		model, err := push(cmd.Context(), c, manifest, m)
		if err != nil {
			return err
		}
		if s.asJSON {
			return s.printJSON(model)
		}
		fmt.Fprintln(s.out, model.ID)
		s.hint("a provider offers it with: atoll node run --openai URL [--openai-model ITS-NAME=%s]", upstream)
		return nil
	})
	cmd.Long = `Give a name to a model that providers have on servers of their own: vLLM,
llama.cpp, Ollama, LM Studio or another Atoll hub. Nothing is uploaded but that
model's name there. A task for it goes to nodes whose server has it.

With --reference, a model of the engine llm with the same weights, answers can be
checked. Nobody can otherwise tell which model has really answered.`
	cmd.Flags().StringVar(&m.Name, "name", "", "`NAME` of the model here (required)")
	cmd.Flags().StringVar(&m.Engine, "engine", openai.Name, "`ENGINE` that has it done: openai")
	cmd.Flags().StringVar(&upstream, "upstream", "", "`MODEL` as providers' servers call it (required)")
	cmd.Flags().StringVar(&reference, "reference", "", "`MODEL` of the engine llm with the same weights, such as tiny@1")
	cmd.Flags().StringVar(&m.Description, "description", "", "`TEXT` that says what it is")
	s.jsonFlag(cmd)
	return cmd
}
