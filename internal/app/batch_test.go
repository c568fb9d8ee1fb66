package app

import (
	"bytes"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"atoll/internal/openaiwire"
)

// upload sends a file as an OpenAI client does.
func upload(t *testing.T, n *Network, content string) (f openaiwire.File) {
	t.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	part, err := form.CreateFormFile("file", "requests.jsonl")
	if err == nil {
		_, err = io.WriteString(part, content)
	}
	if err == nil {
		err = form.WriteField("purpose", "batch") // the client for Node sends it last
	}
	if err == nil {
		err = form.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	call(t, n, http.MethodPost, "/v1/files", form.FormDataContentType(), &body, &f)
	return f
}

// call sends a request that is to succeed and reads its answer.
func call(t *testing.T, n *Network, method, path, kind string, body io.Reader, out any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, n.Hub.URL+path, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+n.Hub.AdminKey)
	req.Header.Set("Content-Type", kind)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode == http.StatusOK {
		if text, ok := out.(*string); ok {
			*text = string(data)
			return
		}
		err = json.Unmarshal(data, out)
	}
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %s: %s: %v", method, path, res.Status, data, err)
	}
}

// batchOf submits requests that continue texts, one for each part.
func batchOf(t *testing.T, n *Network, requests, tokens int) (b openaiwire.Batch) {
	t.Helper()
	var lines strings.Builder
	for i := range requests {
		fmt.Fprintf(&lines, `{"custom_id":"r%d","method":"POST","url":"/v1/completions","body":{"model":"storyteller","prompt":"Once upon a time","max_tokens":%d,"seed":%d}}`+"\n", i, tokens, i)
	}
	f := upload(t, n, lines.String())
	body := fmt.Sprintf(`{"input_file_id":%q,"endpoint":"/v1/completions","completion_window":"24h","atoll":{"split":{"lines":1},"verification":{"method":"quorum","replicas":2,"agree":2}}}`, f.ID)
	if res, failed := post(t, n, "/v1/batches", body, &b); res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %+v", res.Status, failed)
	}
	return b
}

func (n *Network) batch(t *testing.T, id string) (b openaiwire.Batch) {
	t.Helper()
	call(t, n, http.MethodGet, "/v1/batches/"+id, "", nil, &b)
	return b
}

func (n *Network) content(t *testing.T, id *string) (text string) {
	t.Helper()
	if id != nil {
		call(t, n, http.MethodGet, "/v1/files/"+*id+"/content", "", nil, &text)
	}
	return text
}

// A batch is a task like any other: its parts are done by quorum, and what came of
// it is found under the names of its requests.
func TestOpenAIBatch(t *testing.T) {
	t.Parallel()
	n, c := startTest(t, spec("paris-1", "alice", "FR", 30_000, ""), spec("rome-1", "bob", "IT", 40_000, ""))
	pushCoral(t, c)
	b := batchOf(t, n, 6, 8)
	task := "task_" + strings.TrimPrefix(b.ID, "batch_")
	if _, err := c.Wait(t.Context(), mustTask(t, task)); err != nil {
		t.Fatal(err)
	}
	if b = n.batch(t, b.ID); b.Status != "completed" || b.RequestCounts.Completed != 6 || b.ErrorFileID != nil {
		t.Fatalf("%+v", b)
	}
	for i, line := range strings.Split(strings.TrimSpace(n.content(t, b.OutputFileID)), "\n") {
		if !strings.Contains(line, fmt.Sprintf(`"custom_id":"r%d"`, i)) || !strings.Contains(line, `"completion_tokens":8`) {
			t.Errorf("line %d: %s", i, line)
		}
	}
}

// A batch that is cancelled keeps what has been done, and says of the rest that it
// has not.
func TestOpenAIBatchCancelled(t *testing.T) {
	t.Parallel()
	n, c := startTest(t, spec("paris-1", "alice", "FR", 30_000, "delay=1h"), spec("rome-1", "bob", "IT", 40_000, "delay=1h"))
	pushCoral(t, c)
	b := batchOf(t, n, 3, 8)
	var cancelled openaiwire.Batch
	if res, failed := post(t, n, "/v1/batches/"+b.ID+"/cancel", `{}`, &cancelled); res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %+v", res.Status, failed)
	}
	if cancelled.Status != "cancelled" || cancelled.RequestCounts.Failed != 3 || cancelled.OutputFileID != nil {
		t.Fatalf("%+v", cancelled)
	}
	if said := n.content(t, cancelled.ErrorFileID); strings.Count(said, `"code":"batch_cancelled"`) != 3 {
		t.Errorf("%s", said)
	}
	if again := n.batch(t, b.ID); *again.ErrorFileID != *cancelled.ErrorFileID {
		t.Error("what came of it was counted twice")
	}
}
