package cli

import (
	"context"
	"io"
	"log/slog"
	"os"
	"time"

	"atoll/internal/cli/quickstart"
	"atoll/internal/cli/term"
	"atoll/internal/core"
)

// Runtime is what the verbs need of the parts that package app wires together.
// Each function runs until ctx ends or something fails for good.
type Runtime struct {
	Version string
	Up      func(ctx context.Context, cfg UpConfig) error
	Hub     func(ctx context.Context, cfg HubConfig) error
	NodeRun func(ctx context.Context, cfg NodeConfig) error
	// Joined reads how the node of a directory was let in; fs.ErrNotExist if it
	// has not joined yet.
	Joined func(dir string) (NodeAccess, error)
	// Discover looks for GPUs and for servers of the provider's own on loopback.
	Discover     func(ctx context.Context, log *slog.Logger) Found
	StartNetwork func(ctx context.Context, cfg quickstart.NetworkConfig) (*quickstart.Network, error)
}

// HubConfig is what "atoll hub" was asked for.
type HubConfig struct {
	Dir       string // keys, database, blobs, log; made if missing
	Listen    string // host:port of the HTTP API
	Advertise string // URL for nodes and clients; empty: the address listened on
	NATSPort  int    // of the embedded NATS; 0: a free one
	NATS      *NATSConfig
	Private   bool          // data pointers and callbacks may go to private addresses
	Reserve   int64         // bytes of the disk that stay free
	Retention time.Duration // of ended tasks' data and unused uploads; 0: for ever
	Quota     int64         // bytes kept for each account
	Conns     int           // to the API at once; 0: the default
	PerPeer   int           // of them from one address; 0: the default
	Relayed   int           // connections between nodes at once that cannot dial one another; 0: none
	ReadyFile string        // written when the API answers; empty: none
	Log       *slog.Logger
	OnReady   func(Ready) error // called once, when the API answers
}

// NATSConfig is a NATS that somebody else runs.
type NATSConfig struct {
	URLs    []string
	Creds   string // path of the hub user's credentials
	Account string // public key of the account
	Seed    string // path of a signing key of the account
	CA      string // path of its CA's certificate; empty: one that systems trust, or none on loopback
}

// Ready is what a hub says when its API answers.
type Ready struct {
	URL      string
	AdminKey string
	CACert   string // PEM, if the hub has its own CA
	Nodes    []core.NodeID
}

// UpConfig is what "atoll up" was asked for: a hub and nodes in one process.
type UpConfig struct {
	Hub     HubConfig
	Nodes   int // each with an owner of its own
	Country string
}

// NodeConfig is what "atoll node run" or "atoll join" was asked for. Hub and
// Token may be empty for a directory that has joined before.
type NodeConfig struct {
	Dir    string // keys, the join, outbox, cache
	Hub    string // URL
	Token  string
	CACert []byte // PEM, to trust instead of the system's; a join token may pin it, too

	Name     string // empty: kept, or made from the host's name
	Country  string // ISO 3166-1 alpha-2
	Region   string
	Labels   map[string]string
	Price    core.Money // for each lease
	Penalty  int        // thousandths of it that may be withheld for lateness
	Engines  []string
	Accounts []string // work for these only; empty: for all
	CPU      string   // Kubernetes quantities; empty: what was measured
	Memory   string
	Slots    int           // parts at a time; 0: one per core
	Cache    int64         // bytes
	Reserve  int64         // bytes of the disk that stay free
	OpenAI   *OpenAIServer // nil: none
	Peers    string        // HOST:PORT at which other nodes are heard, or relay; empty: the default
	PeersAt  string        // at which they reach it, if that is another
	Faults   string
	Log      *slog.Logger
	OnReady  func(NodeReady) error // called once, when the node has joined
}

// OpenAIServer is a server of the provider's own that becomes an offer.
type OpenAIServer struct {
	URL         string
	Key         string            // empty: none
	Models      map[string]string // name offered to the server's own; empty: all that it has
	Concurrency int               // requests at a time
}

// NodeReady is what a node says when it has joined.
type NodeReady struct {
	Node   core.NodeID
	Owner  core.AccountID
	HubURL string
	CACert string
}

// NodeAccess is how a node that has joined speaks to its hub.
type NodeAccess struct {
	NodeReady

	Key string // of the node alone: it sees itself with it, and nothing of its owner
}

// Env is what a process gets from outside.
type Env struct {
	Args           []string // without the program's name
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Getenv         func(string) string
	Interactive    bool // a person reads Stderr and can answer on Stdin
}

// OSEnv is the environment of this process.
func OSEnv() Env {
	return Env{
		Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv,
		Interactive: term.New(os.Stdin, os.Getenv).TTY && term.New(os.Stderr, os.Getenv).TTY,
	}
}
