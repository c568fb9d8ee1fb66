// Command atoll is all of Atoll in one binary: hub, node and client. Start with
// "atoll quickstart", or "atoll --help".
package main

import (
	"os"

	"atoll/internal/app"
)

func main() { os.Exit(app.Run()) }
