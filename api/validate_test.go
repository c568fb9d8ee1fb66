package api_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"atoll/api"
	"atoll/internal/core"
)

const tiny = `"model":"triage@1","input":[{"uri":"data:;base64,aGVsbG8="}]`

// check decodes and validates as the hub does.
func check(body string) (*api.TaskSpec, error) {
	s, err := api.DecodeTaskSpec([]byte(body))
	if err != nil {
		return nil, err
	}
	return s, s.Validate()
}

func TestEveryFieldIsAccepted(t *testing.T) {
	t.Parallel()
	body, err := os.ReadFile(filepath.Join("testdata", "full.json"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := check(string(body))
	if err != nil {
		t.Fatal(err)
	}
	// Every field must have got its value, but for those that are refused, or that
	// only another method of verification has.
	refused := map[string]bool{"Output": true, "Placement.TEE": true, "Verification.Window": true, "Verification.Value": true, "Verification.Rate": true, "Verification.Nonce": true, "Verification.Span": true}
	var walk func(v reflect.Value, at string)
	walk = func(v reflect.Value, at string) {
		for v.Kind() == reflect.Pointer && !v.IsNil() && v.Type() != reflect.TypeFor[*time.Time]() {
			v = v.Elem()
		}
		if v.Kind() == reflect.Struct && v.NumField() > 0 && v.Type().PkgPath() == "atoll/api" {
			for f := range v.Type().Fields() {
				walk(v.FieldByIndex(f.Index), strings.TrimPrefix(at+"."+f.Name, "."))
			}
			return
		}
		if v.IsZero() != refused[at] {
			t.Errorf("%s = %v", at, v)
		}
	}
	walk(reflect.ValueOf(s), "")

	// What was read is written and read again as the same.
	again, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	s2, err := check(string(again))
	if err != nil {
		t.Fatalf("after a round trip: %v\n%s", err, again)
	}
	if third, err := json.Marshal(s2); err != nil || !bytes.Equal(again, third) {
		t.Errorf("a round trip changed it: %v\n%s\n%s", err, again, third)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	many := func(n int, item string) string { return strings.TrimSuffix(strings.Repeat(item+",", n), ",") }
	for _, c := range []struct {
		name, body string
		kind       core.Kind
		field      string
		says       string // part of message or hint
	}{
		// Form.
		{"empty", ``, core.Invalid, "", "not JSON"},
		{"not an object", `[1]`, core.Invalid, "", "want an object, got an array"},
		{"cut short", `{` + tiny, core.Invalid, "", "not JSON"},
		{"trailing data", `{` + tiny + `} {}`, core.Invalid, "", "not JSON"},
		{"not UTF-8", "{\"model\":\"\xff\"}", core.Invalid, "model", "not JSON"},
		{"unknown field", `{` + tiny + `,"modell":"x"}`, core.Invalid, "modell", "did you mean model?"},
		{"unknown field, deep", `{` + tiny + `,"placement":{"regoins":["x"]}}`, core.Invalid, "placement.regoins", "did you mean regions?"},
		{"unknown field in a list", `{"model":"m","input":[{"uri":"data:,"},{"url":"x"}]}`, core.Invalid, "input[1].url", "did you mean uri?"},
		{"unknown field like nothing", `{` + tiny + `,"zzzzzzzzzz":1}`, core.Invalid, "zzzzzzzzzz", "openapi.json"},
		{"other case", `{` + tiny + `,"Split":{"lines":1}}`, core.Invalid, "Split", "did you mean split?"},
		{"key twice", `{` + tiny + `,"model":"b"}`, core.Invalid, "model", "twice"},
		{"key twice, deep", `{` + tiny + `,"retry":{"max_attempts":1,"max_attempts":2}}`, core.Invalid, "retry.max_attempts", "twice"},
		{"key twice in params", `{` + tiny + `,"params":{"a":{"b":1,"b":2}}}`, core.Invalid, "params.a.b", "twice"},
		{"number for string", `{"model":3}`, core.Invalid, "model", "want a string, got a number"},
		{"string for object", `{` + tiny + `,"budget":"2.50"}`, core.Invalid, "budget", "want an object, got a string"},
		{"object for list", `{"model":"m","input":{}}`, core.Invalid, "input", "want an array, got an object"},
		{"string for number", `{` + tiny + `,"split":{"lines":"20"}}`, core.Invalid, "split.lines", "want a whole number, got a string"},
		{"fraction", `{` + tiny + `,"split":{"lines":1.5}}`, core.Invalid, "split.lines", "want a whole number"},
		{"number too large", `{` + tiny + `,"split":{"lines":99999999999999999999}}`, core.Invalid, "split.lines", "want a whole number"},
		{"string for bool", `{` + tiny + `,"disconnect":{"replace":"yes"}}`, core.Invalid, "disconnect.replace", "want true or false, got a string"},
		{"number for duration", `{` + tiny + `,"timeout":{"queue":60}}`, core.Invalid, "timeout.queue", `durations are strings: "30s"`},
		{"number for time", `{` + tiny + `,"sla":{"deadline":5}}`, core.Invalid, "sla.deadline", "times are strings"},
		{"bad time", `{` + tiny + `,"sla":{"deadline":"tomorrow"}}`, core.Invalid, "sla.deadline", "tomorrow"},
		{"bad digest", `{"model":"m","input":[{"uri":"data:,","digest":"sha256:XY"}]}`, core.Invalid, "input[0].digest", "64 lower-case hex"},
		{"params too deep", `{` + tiny + `,"params":{"a":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}}`, core.Invalid, "params.a", "deeper than 32"},
		{"nested without end", strings.Repeat("[", 20_000), core.Invalid, "", "want an object"},

		// Model and input.
		{"no model", `{"input":[{"uri":"data:,x"}]}`, core.Invalid, "model", "needs a model"},
		{"model name", `{"model":"Tri age","input":[{"uri":"data:,x"}]}`, core.Invalid, "model", "1 to 63"},
		{"model path", `{"model":"../../etc","input":[{"uri":"data:,x"}]}`, core.Invalid, "model", "1 to 63"},
		{"model version", `{"model":"a@0","input":[{"uri":"data:,x"}]}`, core.Invalid, "model", "from 1"},
		{"model version spelling", `{"model":"a@01","input":[{"uri":"data:,x"}]}`, core.Invalid, "model", "from 1"},
		{"model digest alone", `{"model":"sha256:` + strings.Repeat("a", 64) + `","input":[{"uri":"data:,x"}]}`, core.Invalid, "engine", "engine"},
		{"model digest short", `{"model":"sha256:aa","engine":"wasm","input":[{"uri":"data:,x"}]}`, core.Invalid, "model", "64 lower-case"},
		{"model pointer", `{"model":"ftp://x","engine":"wasm","input":[{"uri":"data:,x"}]}`, core.Invalid, "model", "scheme"},
		{"engine name", `{` + tiny + `,"engine":"W!"}`, core.Invalid, "engine", "1 to 63"},
		{"no input", `{"model":"m"}`, core.Invalid, "input", "at least one"},
		{"too many inputs", `{"model":"m","input":[` + many(65, `{"uri":"data:,"}`) + `]}`, core.Invalid, "input", "at most 64"},
		{"no URI", `{"model":"m","input":[{}]}`, core.Invalid, "input[0].uri", "not a data pointer"},
		{"file", `{"model":"m","input":[{"uri":"file:///etc/passwd"}]}`, core.Invalid, "input[0].uri", `scheme "file"`},
		{"data without comma", `{"model":"m","input":[{"uri":"data:base64"}]}`, core.Invalid, "input[0].uri", "comma"},
		{"blob", `{"model":"m","input":[{"uri":"blob:../x"}]}`, core.Invalid, "input[0].uri", "sha256"},
		{"URL without host", `{"model":"m","input":[{"uri":"https:///x"}]}`, core.Invalid, "input[0].uri", "no host"},
		{"URL with password", `{"model":"m","input":[{"uri":"https://u:p@h/x"}]}`, core.Invalid, "input[0].uri", "credentials"},
		{"URL too long", `{"model":"m","input":[{"uri":"https://h/` + strings.Repeat("x", 9000) + `"}]}`, core.Invalid, "input[0].uri", "at most 8192"},
		{"s3", `{"model":"m","input":[{"uri":"s3://b/k"}]}`, core.Unsupported, "input[0].uri", "s3:// is not supported yet"},
		{"dataset", `{"model":"m","input":[{"uri":"dataset://site/name"}]}`, core.Unsupported, "input[0].uri", "not supported yet"},
		{"split", `{` + tiny + `,"split":{"lines":0}}`, core.Invalid, "split.lines", "at least 1"},
		{"output", `{` + tiny + `,"output":"s3://b/k"}`, core.Unsupported, "output", "not supported yet"},
		{"parameter name", `{` + tiny + `,"params":{"` + strings.Repeat("k", 65) + `":1}}`, core.Invalid, "params", "1 to 64"},

		// Resources and placement.
		{"cpu", `{` + tiny + `,"resources":{"cpu":"lots"}}`, core.Invalid, "resources.cpu", "500m"},
		{"cpu negative", `{` + tiny + `,"resources":{"cpu":"-1"}}`, core.Invalid, "resources.cpu", "more than 0"},
		{"memory overflow", `{` + tiny + `,"resources":{"memory":"9e99"}}`, core.Invalid, "resources.memory", "at most"},
		{"memory digits", `{` + tiny + `,"resources":{"memory":"` + strings.Repeat("9", 4000) + `"}}`, core.Invalid, "resources.memory", "longer than 40"},
		{"memory exponent", `{` + tiny + `,"resources":{"memory":"9e999999999"}}`, core.Invalid, "resources.memory", "exponent"},
		{"cpu exponent", `{` + tiny + `,"resources":{"cpu":"1E-99999999"}}`, core.Invalid, "resources.cpu", "exponent"},
		{"gpu count", `{` + tiny + `,"resources":{"gpu":{"count":0}}}`, core.Invalid, "resources.gpu.count", "1 to 64"},
		{"gpu memory", `{` + tiny + `,"resources":{"gpu":{"count":1,"memory":"x"}}}`, core.Invalid, "resources.gpu.memory", "16Gi"},
		{"gpu type", `{` + tiny + `,"resources":{"gpu":{"count":1,"type":"` + strings.Repeat("h", 64) + `"}}}`, core.Invalid, "resources.gpu.type", "63"},
		{"region", `{` + tiny + `,"placement":{"regions":["eu",""]}}`, core.Invalid, "placement.regions[1]", "1 to 63"},
		{"selector", `{` + tiny + `,"placement":{"selector":"tier in (gold"}}`, core.Invalid, "placement.selector", "want"},
		{"spread", `{` + tiny + `,"placement":{"spread":"rack"}}`, core.Invalid, "placement.spread", "owner"},
		{"tee", `{` + tiny + `,"placement":{"tee":["sev-snp"]}}`, core.Unsupported, "placement.tee", "not supported yet"},
		{"residency", `{` + tiny + `,"residency":["XX"]}`, core.Invalid, "residency", "ISO 3166-1"},
		{"residency empty", `{` + tiny + `,"residency":[]}`, core.Invalid, "residency", "1 to 64"},

		// Times.
		{"latency", `{` + tiny + `,"sla":{"latency":"25h"}}`, core.Invalid, "sla.latency", "at most 24h"},
		{"reliability", `{` + tiny + `,"sla":{"min_reliability":1.1}}`, core.Invalid, "sla.min_reliability", "0 to 1"},
		{"penalty", `{` + tiny + `,"sla":{"latency":"1s","penalty":"a lot"}}`, core.Invalid, "sla.penalty", `"20%" or "0.2"`},
		{"penalty without latency", `{` + tiny + `,"sla":{"penalty":"20%"}}`, core.Invalid, "sla.penalty", "add sla.latency"},
		{"deadline zero", `{` + tiny + `,"sla":{"deadline":"0001-01-01T00:00:00Z"}}`, core.Invalid, "sla.deadline", "want a time"},
		{"queue zero", `{` + tiny + `,"timeout":{"queue":"0s"}}`, core.Invalid, "timeout.queue", "positive"},
		{"queue negative", `{` + tiny + `,"timeout":{"queue":"-1s"}}`, core.Invalid, "timeout.queue", "positive"},
		{"queue", `{` + tiny + `,"timeout":{"queue":"24h1s"}}`, core.Invalid, "timeout.queue", "at most 24h"},
		{"execution", `{` + tiny + `,"timeout":{"execution":"25h"}}`, core.Invalid, "timeout.execution", "at most 24h"},
		{"total", `{` + tiny + `,"timeout":{"total":"169h"}}`, core.Invalid, "timeout.total", "at most 168h"},
		{"total under execution", `{` + tiny + `,"timeout":{"execution":"2m","total":"1m"}}`, core.Invalid, "timeout.total", "shorter than timeout.execution"},
		{"attempts", `{` + tiny + `,"retry":{"max_attempts":11}}`, core.Invalid, "retry.max_attempts", "1 to 10"},
		{"attempts zero", `{` + tiny + `,"retry":{}}`, core.Invalid, "retry.max_attempts", "1 to 10"},
		{"lost after", `{` + tiny + `,"disconnect":{"lost_after":"999ms"}}`, core.Invalid, "disconnect.lost_after", "at least 1s"},

		// Verification.
		{"method", `{` + tiny + `,"verification":{"method":"vibes"}}`, core.Invalid, "verification.method", "none, quorum, reexecute or logprobs"},
		{"spot-check", `{` + tiny + `,"verification":{"method":"spot-check","rate":0.1}}`, core.Unsupported, "verification.method", "not supported yet"},
		{"reexecute rate", `{` + tiny + `,"verification":{"method":"reexecute","rate":1.01}}`, core.Invalid, "verification.rate", "0.000001 to 1"},
		{"reexecute rate negative", `{` + tiny + `,"verification":{"method":"reexecute","rate":-0.1}}`, core.Invalid, "verification.rate", "0.000001 to 1"},
		{"reexecute rate of nothing", `{` + tiny + `,"verification":{"method":"reexecute","rate":1e-9}}`, core.Invalid, "verification.rate", "0.000001 to 1"},
		{"reexecute nonce", `{` + tiny + `,"verification":{"method":"reexecute","nonce":"a\nb"}}`, core.Invalid, "verification.nonce", "letters"},
		{"reexecute nonce long", `{` + tiny + `,"verification":{"method":"reexecute","nonce":"` + strings.Repeat("n", 65) + `"}}`, core.Invalid, "verification.nonce", "64"},
		{"span negative", `{` + tiny + `,"verification":{"method":"reexecute","span":-1}}`, core.Invalid, "verification.span", "1 to"},
		{"span without reexecute", `{` + tiny + `,"verification":{"span":32}}`, core.Invalid, "verification.span", "reexecute"},
		{"reexecute replicas", `{` + tiny + `,"verification":{"method":"reexecute","replicas":2}}`, core.Invalid, "verification.method", "quorum"},
		{"reexecute window", `{` + tiny + `,"verification":{"method":"reexecute","window":"5m"}}`, core.Unsupported, "verification.window", "paid at once"},
		{"nonce without reexecute", `{` + tiny + `,"verification":{"method":"quorum","nonce":"x"}}`, core.Invalid, "verification.nonce", "reexecute"},
		{"logprobs rate", `{` + tiny + `,"verification":{"method":"logprobs","rate":1.01}}`, core.Invalid, "verification.rate", "0.000001 to 1"},
		{"logprobs span", `{` + tiny + `,"verification":{"method":"logprobs","span":8}}`, core.Invalid, "verification.span", "without reexecute"},
		{"tee method", `{` + tiny + `,"verification":{"method":"tee"}}`, core.Unsupported, "verification.method", "not supported yet"},
		{"rate", `{` + tiny + `,"verification":{"method":"quorum","rate":0.1}}`, core.Invalid, "verification.rate", "without reexecute"},
		{"window", `{` + tiny + `,"verification":{"method":"quorum","window":"5m"}}`, core.Unsupported, "verification.window", "not supported yet"},
		{"value", `{` + tiny + `,"verification":{"method":"none","value":"3"}}`, core.Unsupported, "verification.value", "not supported yet"},
		{"replicas few", `{` + tiny + `,"verification":{"method":"quorum","replicas":1}}`, core.Invalid, "verification.replicas", "2 to 9"},
		{"replicas many", `{` + tiny + `,"verification":{"method":"quorum","replicas":10}}`, core.Invalid, "verification.replicas", "2 to 9"},
		{"agree half", `{` + tiny + `,"verification":{"method":"quorum","replicas":4,"agree":2}}`, core.Invalid, "verification.agree", "more than half"},
		{"agree many", `{` + tiny + `,"verification":{"method":"quorum","replicas":3,"agree":4}}`, core.Invalid, "verification.agree", "no more than there are"},
		{"agree negative", `{` + tiny + `,"verification":{"method":"quorum","agree":-1}}`, core.Invalid, "verification.agree", "more than half"},
		{"replicas without quorum", `{` + tiny + `,"verification":{"method":"none","replicas":3}}`, core.Invalid, "verification.method", "quorum"},
		{"agree without method", `{` + tiny + `,"verification":{"method":"","agree":2}}`, core.Invalid, "verification.method", "quorum"},

		// Money and callback.
		{"price NaN", `{` + tiny + `,"budget":{"max_cost":"NaN"}}`, core.Invalid, "budget.max_cost", "decimal number"},
		{"price NaN bare", `{` + tiny + `,"budget":{"max_cost":NaN}}`, core.Invalid, "budget.max_cost", "not JSON"},
		{"price number", `{` + tiny + `,"budget":{"max_cost":2.5}}`, core.Invalid, "budget.max_cost", `amounts are strings: "2.50"`},
		{"price negative", `{` + tiny + `,"budget":{"max_cost":"-1"}}`, core.Invalid, "budget.max_cost", "more than 0"},
		{"price exponent", `{` + tiny + `,"budget":{"max_cost":"1e9"}}`, core.Invalid, "budget.max_cost", "decimal number"},
		{"price zero", `{` + tiny + `,"budget":{"max_cost":"0"}}`, core.Invalid, "budget.max_cost", "more than 0"},
		{"price missing", `{` + tiny + `,"budget":{}}`, core.Invalid, "budget.max_cost", "more than 0"},
		{"price overflow", `{` + tiny + `,"budget":{"max_cost":"99999999999999999999"}}`, core.Invalid, "budget.max_cost", "over the limit"},
		{"price fine", `{` + tiny + `,"budget":{"max_cost":"1.0000001"}}`, core.Invalid, "budget.max_cost", "six decimals"},
		{"auction", `{` + tiny + `,"pricing":"auction"}`, core.Unsupported, "pricing", "not supported yet"},
		{"pricing", `{` + tiny + `,"pricing":"free"}`, core.Invalid, "pricing", "posted"},
		{"callback scheme", `{` + tiny + `,"callback":{"url":"gopher://h/"}}`, core.Invalid, "callback.url", "https"},
		{"callback host", `{` + tiny + `,"callback":{"url":"https:"}}`, core.Invalid, "callback.url", "no host"},
		{"callback nothing", `{` + tiny + `,"callback":{}}`, core.Invalid, "callback.url", "https"},
		{"callback password", `{` + tiny + `,"callback":{"url":"https://u:p@h/"}}`, core.Invalid, "callback.url", "credentials"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := check(c.body)
			e, ok := errors.AsType[*core.Error](err)
			if !ok {
				t.Fatalf("got %v, want a core.Error", err)
			}
			if e.Kind != c.kind || e.Field != c.field || !strings.Contains(e.Message+" "+e.Hint, c.says) {
				t.Errorf("got %s at %q: %s (%s)\nwant %s at %q with %q", e.Kind, e.Field, e.Message, e.Hint, c.kind, c.field, c.says)
			}
			if strings.Contains(e.Message+e.Hint, "Go ") || len(e.Message) > 400 {
				t.Errorf("not words for a person: %s", e.Message)
			}
		})
	}
}

func TestAccepted(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		`{` + tiny + `}`,
		`{"model":"triage","input":[{"uri":"blob:sha256:` + strings.Repeat("a", 64) + `"}]}`,
		`{"model":"sha256:` + strings.Repeat("a", 64) + `","engine":"wasm","input":[{"uri":"data:,x"}]}`,
		`{"model":"https://h/m.wasm","engine":"wasm","input":[{"uri":"http://h/x"}]}`,
		`{` + tiny + `,"verification":{"method":"none","replicas":1,"agree":1}}`,
		`{` + tiny + `,"verification":{"method":"quorum"}}`,
		`{` + tiny + `,"verification":{"method":"reexecute"}}`,
		`{` + tiny + `,"verification":{"method":"reexecute","rate":1,"span":32,"nonce":"My-own_1"}}`,
		`{` + tiny + `,"verification":{"method":"quorum","replicas":9,"agree":5}}`,
		`{` + tiny + `,"timeout":{"execution":"24h"}}`,
		`{` + tiny + `,"retry":null,"residency":null}`,
		`{` + tiny + `,"params":{"a":"{{[[{{[[{{[[{{[[{{[[{{[[{{[[{{[[{{[[{{[[\"{"}}`,
	} {
		if _, err := check(body); err != nil {
			t.Errorf("%s: %v", body, err)
		}
	}
}

func TestWithDefaults(t *testing.T) {
	t.Parallel()
	s, err := check(`{` + tiny + `}`)
	if err != nil {
		t.Fatal(err)
	}
	d := s.WithDefaults()
	got := fmt.Sprintf("%v %v %v %v %v %v %q", *d.Timeout, *d.Retry, d.Disconnect.LostAfter.Std(), *d.Disconnect.Replace, *d.Verification, d.Budget.MaxCost, d.Pricing)
	want := fmt.Sprintf("%v {3} 2.5s true %v 1.00 %q", api.Timeout{Queue: api.Duration(time.Minute), Execution: api.Duration(30 * time.Second), Total: api.Duration(5 * time.Minute)},
		api.Verification{Method: "none", Replicas: 1, Agree: 1}, "posted")
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if s.Timeout != nil || s.Budget != nil || s.Pricing != "" {
		t.Error("the specification itself was changed")
	}
	if err := d.Validate(); err != nil {
		t.Errorf("the defaults are not valid: %v", err)
	}

	s, err = check(`{` + tiny + `,"verification":{"method":"quorum","replicas":4},"timeout":{"execution":"10m"},"disconnect":{"replace":false}}`)
	if err != nil {
		t.Fatal(err)
	}
	d = s.WithDefaults()
	if d.Verification.Agree != 3 || d.Timeout.Total.Std() != 11*time.Minute || *d.Disconnect.Replace || d.Disconnect.LostAfter.Std() != 2500*time.Millisecond {
		t.Errorf("got %+v %+v %+v", *d.Verification, *d.Timeout, *d.Disconnect)
	}
	d.Timeout.Total = 1
	if s.Timeout.Total != 0 {
		t.Error("the copy shares its sections with the original")
	}
}

func TestPenalty(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{
		"": 0, "0": 0, "0%": 0, "20%": 200, "0.2": 200, "0.200000": 200, "2.5%": 25, "0.025": 25, "100%": 1000, "1": 1000, "1.0": 1000,
		"0.1%": 1, "00.5": 500, "0.0005": -1, "0.05%": -1, "101%": -1, "1.001": -1, "-5%": -1, "%": -1, ".5": -1, "5.": -1, "1e-1": -1, "NaN": -1, "١%": -1,
		"99999999999999999999%": -1, "20%%": -1, "20 %": -1,
	} {
		got, err := (&api.SLA{Penalty: text}).PenaltyPerMille()
		if err != nil {
			got = -1
		}
		if got != want {
			t.Errorf("%q: got %d (%v), want %d", text, got, err, want)
		}
	}
}

func FuzzDecodeTaskSpec(f *testing.F) {
	full, err := os.ReadFile(filepath.Join("testdata", "full.json"))
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{string(full), `{` + tiny + `}`, `{"params":{"a":[[{"b":1}]]}}`, `{"budget":{"max_cost":"1e9"}}`, `{"sla":{"penalty":"20%"}}`, "", "null", "[]"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		s, err := api.DecodeTaskSpec(body)
		if err == nil {
			err = s.Validate()
		}
		if err != nil {
			e, ok := errors.AsType[*core.Error](err)
			if !ok || (e.Kind != core.Invalid && e.Kind != core.Unsupported && e.Kind != core.TooLarge) {
				t.Fatalf("%T %v", err, err)
			}
			if len(e.Message) > 1000 || len(e.Field) > 1000 {
				t.Fatalf("an answer of %d bytes", len(e.Message)+len(e.Field))
			}
			return
		}
		// What is valid stays valid with defaults, written and read again.
		d := s.WithDefaults()
		text, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		again, err := api.DecodeTaskSpec(text)
		if err == nil {
			err = again.Validate()
		}
		if err != nil {
			t.Fatalf("%v in %s", err, text)
		}
	})
}

func BenchmarkDecodeAndValidate(b *testing.B) {
	body := []byte(`{` + tiny + `,"verification":{"method":"quorum","replicas":3,"agree":2},"budget":{"max_cost":"2.50"},"residency":["EU"]}`)
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		s, err := api.DecodeTaskSpec(body)
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Validate(); err != nil {
			b.Fatal(err)
		}
		_ = s.WithDefaults()
	}
}
