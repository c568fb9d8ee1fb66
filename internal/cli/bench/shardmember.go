package bench

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"atoll/internal/core"
	"atoll/internal/identity"
	"atoll/internal/llm"
	"atoll/internal/llm/weights"
	"atoll/internal/peer"
	"atoll/internal/repro"
	"atoll/internal/shard"
)

// Files of a member's folder, which the benchmark makes.
const (
	memberKey   = "node"
	memberCert  = "node.crt"
	memberCA    = "ca.crt"
	memberReady = "ready" // its address, made by the member
	modelFile   = "model.gguf"
)

// shardNode is a node of the benchmark's own little network.
type shardNode struct {
	*shard.Member
	end     *peer.Endpoint
	address peer.Address
	pool    *repro.Pool
}

// prepareMember makes the folder of a node.
func prepareMember(ca *identity.CA, dir string, name core.NodeID) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	key, err := identity.LoadOrCreate(dir, memberKey)
	if err != nil {
		return err
	}
	cert, err := ca.IssueNode(name, key.Public())
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(filepath.Join(dir, memberCert), cert, 0o600), os.WriteFile(filepath.Join(dir, memberCA), ca.PEM(), 0o600))
}

// carrier is what a node's connections go over.
type carrier struct {
	listen func(node string) (net.Listener, error)
	dial   func(node string) peer.Dial
}

// loopback is this machine's TCP.
var loopback = carrier{
	listen: func(string) (net.Listener, error) { return net.Listen("tcp", "127.0.0.1:0") },
	dial: func(string) peer.Dial {
		return func(ctx context.Context, at string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", at)
		}
	},
}

// openMember starts the node of a folder, beside which the model's file is.
func openMember(dir string, threads int, over carrier) (*shardNode, error) {
	isa, err := repro.SelectISA(os.Getenv(repro.Variable))
	if err != nil {
		return nil, err
	}
	pool, err := repro.NewPool(threads, isa)
	if err != nil {
		return nil, err
	}
	n := &shardNode{pool: pool}
	n.Member = shard.NewMember(shard.MemberConfig{
		Pool: pool, Allow: func(context.Context, peer.Peer, *shard.Seat) error { return nil },
		Open: func(ctx context.Context, to peer.Address, protocol string) (peer.Stream, error) {
			return n.end.Open(ctx, to, protocol)
		},
		Load: func(ctx context.Context, s *shard.Seat) (*llm.Model, error) {
			return loadLayers(ctx, filepath.Join(filepath.Dir(dir), modelFile), s.Options())
		},
	})
	n.end, n.address, err = openEndpoint(dir, n.Handlers(), over)
	return n, err
}

// openEndpoint puts the node of a folder among its peers.
func openEndpoint(dir string, handlers map[string]peer.Handler, over carrier) (*peer.Endpoint, peer.Address, error) {
	name, self := filepath.Base(dir), peer.Address{}
	key, err := identity.LoadOrCreate(dir, memberKey)
	if err != nil {
		return nil, self, err
	}
	text, err := os.ReadFile(filepath.Join(dir, memberCert))
	if err != nil {
		return nil, self, err
	}
	cert, err := identity.NodeCertificate(text, key)
	if err != nil {
		return nil, self, err
	}
	ca, err := os.ReadFile(filepath.Join(dir, memberCA))
	if err != nil {
		return nil, self, err
	}
	l, err := over.listen(name)
	if err != nil {
		return nil, self, err
	}
	end, err := peer.New(peer.Config{
		Certificate: func() (*tls.Certificate, error) { return cert, nil }, CA: ca, Handlers: handlers, Dial: over.dial(name),
	})
	if err != nil {
		return nil, self, errors.Join(err, l.Close())
	}
	go func() { _ = end.Serve(l) }()
	return end, peer.Address{Node: core.NodeID(name), Key: key.Public().Digest(), At: []string{l.Addr().String()}}, nil
}

func (n *shardNode) close() error {
	err := n.end.Close()
	n.pool.Close()
	return err
}

// loadLayers reads a range of a model's layers.
func loadLayers(ctx context.Context, path string, o llm.Options) (*llm.Model, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	w, err := weights.FromGGUF(path, f, info.Size())
	if err != nil {
		return nil, err
	}
	return llm.Load(ctx, w, o)
}

// ShardMember is a process of the benchmark: it holds whatever layers it is told to,
// until ctx ends.
func ShardMember(ctx context.Context, dir string, threads int) error {
	n, err := openMember(dir, threads, loopback)
	if err != nil {
		return err
	}
	defer n.close()
	ready := filepath.Join(dir, memberReady)
	if err := os.WriteFile(ready+".new", []byte(n.address.At[0]), 0o600); err != nil {
		return err
	}
	if err := os.Rename(ready+".new", ready); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// addressOf waits for a member's address.
func addressOf(ctx context.Context, dir string) (peer.Address, error) {
	key, err := identity.LoadOrCreate(dir, memberKey)
	if err != nil {
		return peer.Address{}, err
	}
	ctx, stop := context.WithTimeoutCause(ctx, 30*time.Second, fmt.Errorf("the process for %s did not start", dir))
	defer stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if text, err := os.ReadFile(filepath.Join(dir, memberReady)); err == nil {
			return peer.Address{Node: core.NodeID(filepath.Base(dir)), Key: key.Public().Digest(), At: []string{strings.TrimSpace(string(text))}}, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return peer.Address{}, context.Cause(ctx)
		}
	}
}
