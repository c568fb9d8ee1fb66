// Command redact masks card numbers, IBANs and e-mail addresses in the lines of a part,
// so that what leaves a machine can be shown to others. It is an ordinary Go
// program, which Atoll runs as a WebAssembly module:
//
//	GOOS=wasip1 GOARCH=wasm go build -o redact.wasm ./examples/wasm/redact
//
// The part comes on standard input, the result goes to standard output, and the
// task's parameters are environment variables: "mask" is what stands for what
// was masked, "[redacted]" if it is not given. A non-zero exit fails the part,
// with what was written to standard error as the reason.
package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"regexp"
)

var personal = regexp.MustCompile(`\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b|` + // IBAN
	`\b\d(?:[ -]?\d){12,18}\b|` + // card number
	`[\w.+-]+@[\w-]+(?:\.[\w-]+)+`) // e-mail address

func main() {
	if err := redact(os.Stdin, os.Stdout, os.Getenv("mask")); err != nil {
		fmt.Fprintln(os.Stderr, "redact:", err)
		os.Exit(1)
	}
}

func redact(in io.Reader, out io.Writer, mask string) error {
	if mask == "" {
		mask = "[redacted]"
	}
	w := bufio.NewWriter(out)
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		masked := personal.ReplaceAllLiteral(lines.Bytes(), []byte(mask))
		if _, err := fmt.Fprintf(w, "%s\n", masked); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return w.Flush()
}
