package control

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"atoll/api"
	"atoll/internal/core"
	"atoll/internal/fetch"
	"atoll/internal/request"
)

// takeInput decides where the input is kept and at whose charge. What is an upload
// already is kept, and charged, once.
func (c *Control) takeInput(ctx context.Context, t *task, spec *api.TaskSpec, input []byte) (err error) {
	large := len(input) > inputInSQL
	if !large {
		t.input = input
	}
	if len(spec.Input) == 1 && strings.HasPrefix(spec.Input[0].URI, "blob:") {
		d := core.DigestOf(input)
		if err := t.intake.use(c, d, int64(len(input))); err != nil || !large {
			return err
		}
		t.InputBlob = d
		return nil
	}
	if large {
		t.InputBlob, err = t.intake.store(ctx, c, input)
		return err
	}
	return t.intake.claim.add(int64(len(input)))
}

// thin returns the specification as it is kept: with digests in place of the
// inline data that the task's input column already holds.
func thin(spec *api.TaskSpec, pinned []core.Digest) *api.TaskSpec {
	kept := *spec
	kept.Input = slices.Clone(spec.Input)
	for i := range kept.Input {
		kept.Input[i].Digest = pinned[i]
		if strings.HasPrefix(kept.Input[i].URI, "data:") {
			kept.Input[i].URI = "data:"
		}
	}
	return &kept
}

// pinInput fetches every data pointer once and joins them. Their digests are
// what nodes are held to: a URL that changes later frames nobody.
func (c *Control) pinInput(ctx context.Context, s *request.Submission, x *reading) (joined []byte, digests []core.Digest, err error) {
	if s.Input != nil {
		return s.Input, []core.Digest{core.DigestOf(s.Input)}, nil
	}
	for i, in := range s.Spec.Input {
		field := fmt.Sprintf("input[%d]", i)
		p, err := fetch.ParsePointer(in.URI, in.Digest)
		if err != nil {
			return nil, nil, at(err, field+".uri")
		}
		data, err := c.read(ctx, x, p, maxInput-int64(len(joined)))
		if err != nil {
			return nil, nil, at(err, field)
		}
		d := core.DigestOf(data)
		if !in.Digest.IsZero() && d != in.Digest {
			return nil, nil, core.Errorf(core.Invalid, "the data has digest %s, not %s", d, in.Digest).At(field + ".digest")
		}
		digests = append(digests, d)
		if joined == nil {
			joined = data
		} else {
			joined = append(joined, data...)
		}
	}
	return joined, digests, nil
}

// cut returns the byte ranges of the parts. Blank lines do not count, and go with
// the part before them: none is left without work.
func cut(input []byte, split *api.Split) ([][2]int, error) {
	if split == nil {
		return [][2]int{{0, len(input)}}, nil
	}
	var cuts [][2]int
	start, end, lines := 0, 0, 0
	for line := range bytes.Lines(input) {
		blank := len(bytes.TrimSpace(line)) == 0
		if !blank && lines == split.Lines {
			if cuts = append(cuts, [2]int{start, end}); len(cuts) == maxParts {
				return nil, core.Errorf(core.TooLarge, "the input would be cut into more than %d parts", maxParts).At("split.lines").WithHint("put more lines into each part")
			}
			start, lines = end, 0
		}
		if end += len(line); !blank {
			lines++
		}
	}
	if lines == 0 {
		return nil, core.Errorf(core.Invalid, "the input has no line that is not blank, there is nothing to split").At("split")
	}
	return append(cuts, [2]int{start, end}), nil
}

// ranges are the parts that end at the given places.
func ranges(ends []int64) ([][2]int, error) {
	if len(ends) > maxParts {
		return nil, core.Errorf(core.TooLarge, "%d parts, at most %d", len(ends), maxParts)
	}
	out, start := make([][2]int, len(ends)), 0
	for i, end := range ends {
		out[i], start = [2]int{start, int(end)}, int(end)
	}
	return out, nil
}

// openInput returns the bytes of a part's input.
func (c *Control) openInput(t *task, p *part) ([]byte, error) {
	if t.InputBlob.IsZero() {
		if int64(len(t.input)) < p.Offset+p.Size {
			return nil, fmt.Errorf("input of %s is not in memory", t.ID)
		}
		return t.input[p.Offset : p.Offset+p.Size], nil
	}
	return c.readBlob(t.InputBlob, p.Offset, p.Size)
}
