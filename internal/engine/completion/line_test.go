package completion_test

import (
	"errors"
	"testing"

	"atoll/internal/engine"
	"atoll/internal/engine/completion"
)

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"id":1,"prompt":"x","stop":["a","b"],"seed":9,"top_k":3}`))
	f.Add([]byte("\uFEFF{\"prompt\":\"\"}\r\n{\"prompt\":\"y\",\"logprobs\":0}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		lines, err := completion.Parse(data, &completion.Params{})
		if err != nil && !errors.Is(err, engine.ErrInput) && !errors.Is(err, engine.ErrTooLarge) {
			t.Errorf("no reason that a node could give: %v", err)
		}
		for _, l := range lines {
			if (l.Prompt == nil) == (l.Messages == nil) || l.Check() != nil {
				t.Errorf("%+v was let through", l)
			}
		}
	})
}
