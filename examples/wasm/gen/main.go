// Command gen writes the modules that are assembled by hand.
package main

import (
	"fmt"
	"os"

	"atoll/internal/engine/wasm/asm"
)

func main() {
	for name, module := range map[string][]byte{"noop.wasm": asm.Noop(), "echo.wasm": asm.Echo()} {
		if err := os.WriteFile(name, module, 0o644); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}
