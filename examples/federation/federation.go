// Package federation is an example: four banks that learn together who will not pay back.
// The rows are made up by a formula; nobody's are among them.
package federation

import "embed"

// Files are loans.csv, what its columns mean, and the federation's specification.
//
//go:embed loans.csv loans.schema.json loans.yaml
var Files embed.FS
