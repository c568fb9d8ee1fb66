//go:build !unix

package bench

import "os"

var standstill os.Signal // there is none
