package openai

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"atoll/internal/core"
	"atoll/internal/engine"
	"atoll/internal/engine/completion"
	"atoll/internal/openaiwire"
)

// Name is the engine's name.
const Name = "openai"

// Config says where the server is and how much of it is lent. Zero fields have
// defaults, but for URL.
type Config struct {
	URL string // such as http://127.0.0.1:11434; /v1 is added where no path is given
	Key string // sent as bearer token; never logged
	// Models maps the names under which models are offered to the server's own.
	// Empty: all that the server has, under its names.
	Models      map[string]string
	Concurrency int           // requests at the server at once; default 8
	First       time.Duration // the longest wait for the first byte; default 5 minutes
	Idle        time.Duration // the longest silence after it; default 1 minute
	Check       time.Duration // between two looks at the server's models; default 5 seconds
	Log         *slog.Logger  // default: none
}

// Engine asks one server. It is safe for concurrent use.
type Engine struct {
	cfg   Config
	base  string // without a slash at its end
	http  *http.Client
	slots chan struct{}
}

var (
	_ engine.Engine = (*Engine)(nil)
	_ engine.Host   = (*Engine)(nil)
)

// New returns an engine. It does not ask the server anything yet.
func New(cfg Config) (*Engine, error) {
	base, err := baseURL(cfg.URL, cfg.Key != "")
	if err != nil {
		return nil, err
	}
	for name, own := range cfg.Models {
		if err := errors.Join(checkName(name), checkName(own)); err != nil {
			return nil, err
		}
	}
	if cfg.Concurrency < 0 || strings.ContainsAny(cfg.Key, "\r\n") {
		return nil, core.Errorf(core.Invalid, "OpenAI-compatible server: the concurrency is negative, or the key has several lines")
	}
	def := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	def(&cfg.First, 5*time.Minute)
	def(&cfg.Idle, time.Minute)
	def(&cfg.Check, 5*time.Second)
	if cfg.Concurrency == 0 {
		cfg.Concurrency = 8
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Engine{
		cfg: cfg, base: base, slots: make(chan struct{}, cfg.Concurrency),
		http: &http.Client{
			// No proxy: the server is the provider's own, and the key is for it alone.
			Transport: &http.Transport{
				DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext, TLSHandshakeTimeout: 10 * time.Second,
				MaxIdleConnsPerHost: cfg.Concurrency, IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: 64 << 10, DisableCompression: true,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// baseURL completes the server's address. A key must not cross a network in clear.
func baseURL(text string, withKey bool) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || (u.Scheme != "http" && u.Scheme != "https") || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", core.Errorf(core.Invalid, "OpenAI-compatible server: want an address such as http://127.0.0.1:11434, without a password or a query")
	}
	if ip := net.ParseIP(u.Hostname()); withKey && u.Scheme == "http" && u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return "", core.Errorf(core.Invalid, "OpenAI-compatible server %s: its key would cross the network in clear; use https", u.Host)
	}
	if u.Path = strings.TrimRight(u.Path, "/"); u.Path == "" {
		u.Path = "/v1"
	}
	return u.String(), nil
}

// Name implements engine.Engine.
func (*Engine) Name() string { return Name }

// Reproducible implements engine.Engine: servers on GPUs do not promise bits.
func (*Engine) Reproducible() bool { return false }

// Close implements engine.Engine.
func (e *Engine) Close() error {
	e.http.CloseIdleConnections()
	return nil
}

// Load implements engine.Engine.
func (e *Engine) Load(_ context.Context, m engine.Model) (engine.Instance, error) {
	f, err := os.Open(m.Path)
	if err != nil {
		return nil, fmt.Errorf("openai: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, MaxManifest+1))
	if err != nil {
		return nil, fmt.Errorf("openai: %w", err)
	}
	manifest, err := ParseManifest(b)
	if err != nil {
		return nil, err
	}
	if got := core.DigestOf(b); got != m.Digest {
		return nil, fmt.Errorf("%w: its digest is %s, not %s", engine.ErrModel, got, m.Digest)
	}
	own, ok := e.ownName(manifest.Upstream)
	if !ok {
		return nil, fmt.Errorf("this node does not offer the model %q", manifest.Upstream)
	}
	return &instance{e, own}, nil
}

// ownName is what the server calls a model that is offered.
func (e *Engine) ownName(offered string) (own string, ok bool) {
	if len(e.cfg.Models) == 0 {
		return offered, true
	}
	own, ok = e.cfg.Models[offered]
	return own, ok
}

// instance is a model at the server.
type instance struct {
	e     *Engine
	model string
}

// Close implements engine.Instance. The server keeps its models as it likes.
func (*instance) Close(context.Context) error { return nil }

// Run implements engine.Instance. Usage.CPU is the time on the wall: what the
// server computes with is not this machine's to measure.
func (in *instance) Run(ctx context.Context, input engine.Input) (engine.Output, engine.Usage, error) {
	began := time.Now()
	ctx, cancel := input.Limits.Within(ctx)
	defer cancel()
	use := engine.Usage{BytesIn: int64(len(input.Data))}
	out, err := in.run(ctx, input, &use)
	if ended := engine.Ended(ctx); err != nil && ended != nil {
		err = ended // whatever it looked like from the connection
	}
	use.CPU, use.BytesOut = time.Since(began), int64(len(out))
	return engine.Output{Data: out}, use, err
}

func (in *instance) run(ctx context.Context, input engine.Input, use *engine.Usage) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	params, err := completion.ParseParams(input.Params)
	if err != nil {
		return nil, err
	}
	lines, err := completion.Parse(input.Data, &params)
	if err != nil {
		return nil, err
	}
	answers, err := in.all(ctx, lines, &params, completion.NewProgress(input.Progress, len(lines)))
	if err != nil {
		return nil, err
	}
	most := int64(completion.MaxOutput)
	if n := input.Limits.Output; n > 0 {
		most = n
	}
	var out []byte
	for i, a := range answers {
		out = a.append(out, lines[i].ID)
		use.TokensIn += a.usage.PromptTokens
		use.TokensOut += a.usage.CompletionTokens
		if int64(len(out)) > most {
			return nil, fmt.Errorf("line %d: %w: over %d bytes of output", lines[i].Number, engine.ErrTooLarge, most)
		}
	}
	return out, nil
}

// all has lines answered, as many at a time as the server is lent for. The first
// failure of any ends the others: nothing of them would be delivered.
func (in *instance) all(ctx context.Context, lines []completion.Line, p *completion.Params, told *completion.Progress) ([]*answer, error) {
	answers := make([]*answer, len(lines))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(in.e.cfg.Concurrency)
	var mu sync.Mutex
	var failure error
	for i := range lines {
		g.Go(func() error {
			l := &lines[i]
			a, err := in.e.answer(ctx, in.model, l, func(more string) { told.Text(i, l.ID, more) })
			if p.Answers(err) {
				a, err = &answer{refused: err, usage: new(openaiwire.Usage)}, nil
			}
			if err == nil {
				told.End(i, a.append(nil, l.ID))
				answers[i] = a
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			if failure == nil {
				failure = fmt.Errorf("line %d: %w", l.Number, err)
			}
			return err
		})
	}
	_ = g.Wait() // failure has it, with its line
	return answers, failure
}
