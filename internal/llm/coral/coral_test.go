package coral_test

import (
	"bytes"
	"io"
	"testing"

	"atoll/internal/llm/chat"
	"atoll/internal/llm/chat/jinja"
	"atoll/internal/llm/coral"
	"atoll/internal/llm/quant"
	"atoll/internal/llm/tokenizer"
	"atoll/internal/llm/weights"
)

// maxFile is what a model that travels in the program may weigh.
const maxFile = 4 << 20

// A conversation is one text, which goes on.
func TestConversation(t *testing.T) {
	t.Parallel()
	file := coral.Open()
	m, err := weights.FromGGUF(coral.Name, file, file.Size())
	if err != nil {
		t.Fatal(err)
	}
	tok, err := tokenizer.New(m.Vocab)
	if err != nil {
		t.Fatal(err)
	}
	template, err := chat.New(tok, "")
	if err != nil {
		t.Fatal(err)
	}
	ids, err := template.Encode(chat.Request{Messages: jinja.List{chat.Message("user", "It was"), chat.Message("assistant", " a fine")}, Answer: true})
	if got := tok.Decode(ids); err != nil || got != "It was a fine" {
		t.Errorf("%q, %v", got, err)
	}
}

// The file is what "atoll model import" makes, so its digest names the model
// wherever it is imported again.
func TestFileIsCanonical(t *testing.T) {
	t.Parallel()
	file := coral.Open()
	if file.Size() > maxFile {
		t.Errorf("%d bytes, at most %d", file.Size(), maxFile)
	}
	m, err := weights.FromGGUF(coral.Name, file, file.Size())
	if err != nil {
		t.Fatal(err)
	}
	var again bytes.Buffer
	if err := m.Export(t.Context(), &again, quant.Q8_0); err != nil {
		t.Fatal(err)
	}
	want, err := io.ReadAll(coral.Open())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(again.Bytes(), want) {
		t.Error("exported again, the file is another")
	}
}
