package secagg

import (
	"encoding/binary"

	"atoll/internal/core"
)

// What members and the hub tell one another. Members are named by their number in
// Params.Members. Bytes are in base64 where a message travels as JSON.
type (
	// Keys are what a member begins with.
	Keys struct {
		From   int         `json:"from"`
		Box    []byte      `json:"box"`             // X25519, under which shares are sealed
		Mask   []byte      `json:"mask"`            // X25519, from which pairwise masks come
		Own    core.Digest `json:"own"`             // of the secret of its own mask
		Commit core.Digest `json:"commit,omitzero"` // to its part of the lot, if there is one
		Sig    []byte      `json:"sig"`
	}
	// Part is a member's part of the lot that orders the ring, signed together with the
	// keys of all: it is not shown to who might still choose their own.
	Part struct {
		From int      `json:"from"`
		Part [32]byte `json:"part"`
		Sig  []byte   `json:"sig"`
	}
	// Sealed is what one member has for another.
	Sealed struct {
		From int    `json:"from"`
		To   int    `json:"to"`
		Box  []byte `json:"box"`
	}
	// Included says that a member's vector has the masks of all its neighbours but those.
	// Without it a hub could have one side alone leave a mask out, and cut the members into
	// groups of which it learns each one's sum.
	Included struct {
		From    int    `json:"from"`
		Without []int  `json:"without,omitempty"`
		Sig     []byte `json:"sig"`
	}
	// Agreement is a member's signature over who has sent a vector.
	Agreement struct {
		From int    `json:"from"`
		Sig  []byte `json:"sig"`
	}
	// Opening is a member's shares: of the own masks of those who have sent a vector, and
	// of the mask keys of those who have shared and then dropped out.
	Opening struct {
		From  int            `json:"from"`
		Own   map[int]secret `json:"own"`
		Masks map[int]secret `json:"masks"`
	}
)

// statement is what a signature of a round is over.
func statement(context core.Digest, kind string, from int, body ...[]byte) []byte {
	b := append([]byte("atoll secagg v1 "+kind+"\n"), context[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(from))
	for _, part := range body {
		b = binary.LittleEndian.AppendUint64(b, uint64(len(part)))
		b = append(b, part...)
	}
	return b
}

func (k *Keys) statement(context core.Digest) []byte {
	return statement(context, "keys", k.From, k.Box, k.Mask, k.Own[:], k.Commit[:])
}

func (p *Part) statement(context, all core.Digest) []byte {
	return statement(context, "part", p.From, all[:], p.Part[:])
}

func (x *Included) statement(context core.Digest) []byte {
	without := digestSet(x.Without)
	return statement(context, "included", x.From, without[:])
}

func (a *Agreement) statement(context, survivors core.Digest) []byte {
	return statement(context, "survivors", a.From, survivors[:])
}

// digestKeys names the keys that a round goes on with.
func digestKeys(all []Keys) core.Digest {
	b := []byte("atoll secagg v1 all keys\n")
	for i := range all {
		b = append(b, all[i].statement(core.Digest{})...)
	}
	return core.DigestOf(b)
}

// digestSet names members, in order.
func digestSet(members []int) core.Digest {
	b := []byte("atoll secagg v1 set\n")
	for _, m := range members {
		b = binary.LittleEndian.AppendUint64(b, uint64(m))
	}
	return core.DigestOf(b)
}

// lot is the seed of the ring's order: of all parts, in order.
func lot(context core.Digest, parts []Part) core.Digest {
	b := append([]byte("atoll secagg v1 lot\n"), context[:]...)
	for i := range parts {
		b = append(b, parts[i].Part[:]...)
	}
	return core.DigestOf(b)
}

// commitment hides a part until it is shown.
func commitment(part [32]byte) core.Digest {
	return core.DigestOf(append([]byte("atoll secagg v1 commit\n"), part[:]...))
}

// digestOwn names the secret of a mask without telling it: it is as good as uniform.
func digestOwn(s secret) core.Digest {
	return core.DigestOf(append([]byte("atoll secagg v1 own\n"), s[:]...))
}

// checkSet refuses what is no set of members in order.
func checkSet(members []int, n int, what string) error {
	for i, m := range members {
		if m < 0 || m >= n || i > 0 && members[i-1] >= m {
			return core.Errorf(core.Invalid, "%s: member %d after %d of %d: want each once, in order", what, m, members[max(i-1, 0)], n)
		}
	}
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (s secret) MarshalText() ([]byte, error) { return core.Digest(s).MarshalText() }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *secret) UnmarshalText(b []byte) error { return (*core.Digest)(s).UnmarshalText(b) }
