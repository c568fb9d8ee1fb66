package codec_test

import (
	"crypto/rand"
	"fmt"
	"math"
	"testing"

	"atoll/internal/codec"
	"atoll/internal/core"
	"atoll/internal/identity"
	"atoll/internal/keystream"
	"atoll/internal/privacy"
	"atoll/internal/secagg"
)

// The whole way: six clients' updates, clipped, rotated, rounded, noised and masked, of
// whom one drops out when it has shared its secrets. The hub's sum is off from the
// sum of the others by the noise of five, and by nothing else.
func TestUnderMasks(t *testing.T) {
	t.Parallel()
	const dim, n, quitter = 4000, 6, 2
	cohort := privacy.Cohort{Clients: n, Least: 5, Corrupt: 1}
	g := grid(t, codec.Shape{Dim: dim, Clip: 1, Bits: 10})
	variance, err := privacy.Target{Epsilon: 8, Delta: 1e-6, Rounds: 10}.SkellamVariance(g.L1(), g.L2())
	if err != nil {
		t.Fatal(err)
	}
	share, err := cohort.Share(variance)
	if err != nil {
		t.Fatal(err)
	}
	skellam, err := privacy.NewSkellam(share)
	if err != nil {
		t.Fatal(err)
	}
	words, err := g.Words(n, n*share, 1e-9)
	if err != nil {
		t.Fatal(err)
	}
	seed, want := keystream.Seed{8}, make([]float32, dim)
	vectors := make([][]uint32, n)
	for i := range vectors {
		update, secret := noise(dim, 0.9, byte(i)), stream(t, byte(i))
		if vectors[i], _, err = g.Encode(update, seed, secret); err != nil {
			t.Fatal(err)
		}
		skellam.AddTo(vectors[i], secret)
		words.Modulus.Reduce(vectors[i])
		for j := range want {
			if i != quitter {
				want[j] += update[j]
			}
		}
	}
	sum := masked(t, &secagg.Params{Round: core.DigestOf([]byte("round")), Threshold: cohort.Least, Shares: cohort.Least - 1, Dim: g.Len(), Bits: int(words.Modulus)}, vectors, quitter)
	got, err := g.Decode(sum, words.Modulus, seed)
	if err != nil {
		t.Fatal(err)
	}
	expected := math.Sqrt((n-1)*share*dim) * g.Step()
	if off := distance(got, want); math.Abs(off/expected-1) > 0.05 {
		t.Errorf("off by %g, the noise of %d clients is %g", off, n-1, expected)
	}
}

// masked is a round of secure aggregation in which one member leaves before it sends
// its vector.
func masked(t *testing.T, p *secagg.Params, vectors [][]uint32, quitter int) []uint32 {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	keys := make([]*identity.Key, len(vectors))
	for i := range keys {
		var err error
		keys[i], err = identity.Generate()
		must(err)
		p.Members = append(p.Members, secagg.Member{Name: fmt.Sprint("site-", i), Key: keys[i].Public()})
	}
	hub, err := secagg.NewServer(p)
	must(err)
	clients := make([]*secagg.Client, len(vectors))
	for i := range clients {
		clients[i], err = secagg.NewClient(p, p.Members[i].Name, keys[i].Sign, rand.Reader, new(secagg.MemoryJournal))
		must(err)
		k, err := clients[i].Advertise()
		must(err)
		must(hub.Advertise(k))
	}
	all, err := hub.CloseKeys()
	must(err)
	parts, err := hub.CloseLot()
	must(err)
	for i, c := range clients {
		sealed, err := c.Share(all, parts)
		must(err)
		must(hub.Share(i, sealed))
	}
	must(hub.CloseShares())
	for i, c := range clients {
		if i != quitter {
			v, in, err := c.Mask(hub.Inbox(i), vectors[i])
			must(err)
			must(hub.Mask(v, in))
		}
	}
	alive, err := hub.CloseVectors()
	must(err)
	for _, i := range alive {
		a, err := clients[i].Agree(alive, hub.Included(i))
		must(err)
		must(hub.Agree(a))
	}
	quorum, err := hub.CloseAgreement()
	must(err)
	for _, i := range alive {
		o, err := clients[i].Open(alive, quorum)
		must(err)
		must(hub.Open(o))
	}
	sum, err := hub.Sum()
	must(err)
	return sum
}
