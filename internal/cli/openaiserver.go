package cli

import (
	"strings"

	"github.com/spf13/cobra"
)

// serverFlags are about a server of the provider's own that speaks the OpenAI API.
type serverFlags struct {
	url, keyEnv string
	models      []string
	concurrency int
}

func (f *serverFlags) register(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.url, "openai", "", "`URL` of your own OpenAI-compatible server (vLLM, llama.cpp, Ollama, LM Studio) whose models are offered, such as http://127.0.0.1:11434")
	fl.StringVar(&f.keyEnv, "openai-key-env", "", "`NAME` of the environment variable that holds that server's key, if it wants one")
	fl.StringSliceVar(&f.models, "openai-model", nil, "`MODELS` of that server to offer, or MODEL=NAME to offer one under another name (default: all that it has)")
	fl.IntVar(&f.concurrency, "openai-concurrency", defaultConcurrency, "`NUMBER` of requests to send it at a time")
}

const (
	defaultConcurrency = 8
	maxConcurrency     = 256
)

// config is nil if there is no such server.
func (f *serverFlags) config(getenv func(string) string) (*OpenAIServer, error) {
	if f.url == "" {
		if f.keyEnv != "" || len(f.models) > 0 {
			return nil, usagef("--openai-key-env and --openai-model are about a server: give its address with --openai URL")
		}
		return nil, nil
	}
	if f.concurrency < 1 || f.concurrency > maxConcurrency {
		return nil, usagef("--openai-concurrency %d: want 1 to %d", f.concurrency, maxConcurrency)
	}
	s := &OpenAIServer{URL: f.url, Concurrency: f.concurrency, Models: map[string]string{}}
	if f.keyEnv != "" {
		if s.Key = strings.TrimSpace(getenv(f.keyEnv)); s.Key == "" {
			return nil, usagef("--openai-key-env: the environment variable %s is not set", f.keyEnv)
		}
	}
	for _, m := range f.models {
		own, name, renamed := strings.Cut(m, "=")
		if !renamed {
			name = own
		}
		if own == "" || name == "" {
			return nil, usagef("--openai-model %q: want MODEL or MODEL=NAME", m)
		}
		if had, twice := s.Models[name]; twice {
			return nil, usagef("--openai-model: both %s and %s would be offered as %s", had, own, name)
		}
		s.Models[name] = own
	}
	return s, nil
}
