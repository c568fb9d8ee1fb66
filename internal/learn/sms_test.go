package learn_test

import (
	"bytes"
	"testing"

	"atoll/internal/learn/merge"
	"atoll/internal/learn/model"
	"atoll/internal/table"
)

// Three offices that sort messages into wanted and not.
func TestSMSSpam(t *testing.T) {
	t.Parallel()
	const schema = `{"dialect": {"header": false, "delimiter": "\t"}, "schema": {"fields": [{"name": "label", "type": "string"}, {"name": "text", "type": "string", "constraints": {"required": true}}]}}`
	file := dataFile(t, "docs-sms-spam/SMSSpamCollection.gz", "archive.ics.uci.edu/dataset/228/sms+spam+collection")
	file = bytes.ReplaceAll(bytes.ToValidUTF8(file, []byte("?")), []byte(`"`), []byte("'")) // it is not CSV
	rows := examples(t, schema, table.Features{
		Inputs: []table.Input{{Column: "text", As: table.AsText}}, Label: table.Label{Column: "label", Classes: []string{"ham", "spam"}},
	}, file)
	f := federation{
		rounds: 8, config: model.Config{Epochs: 2, Batch: 16, Rate: 4}, server: merge.Optimizer{Method: merge.FedAvg},
		spec: model.Spec{Kind: model.Text, Bits: 14, Classes: []string{"ham", "spam"}},
	}
	parts := make([][]int, 4) // three sites, and what is held out
	for i := range rows.Len() {
		parts[i%4] = append(parts[i%4], i)
	}
	f.held = rows.Pick(parts[3])
	for _, p := range parts[:3] {
		f.sites = append(f.sites, rows.Pick(p))
	}
	if _, together, pooled := f.compare(t, accuracy); together < 0.975 || pooled < 0.98 {
		t.Errorf("accuracy federated %.4f, pooled %.4f, want .975 and .98", together, pooled)
	}
}
