package wasm

import (
	"fmt"

	"atoll/internal/engine"
)

// Inspect says, without running or compiling a module, whether it is one and
// whether it uses floats (see [Instance.Floats]). A hub calls it for what is
// uploaded to it.
func Inspect(module []byte) (floats bool, err error) {
	info, err := scan(module)
	if err != nil {
		return false, fmt.Errorf("%w: %w", engine.ErrModel, err)
	}
	return info.floats, nil
}
