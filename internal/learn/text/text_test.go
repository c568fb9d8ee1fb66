package text_test

import (
	"bytes"
	"context"
	"errors"
	"math"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"atoll/internal/core"
	"atoll/internal/corpus"
	"atoll/internal/learn/text"
)

// small is a model for tests that need any; it is trained once, and immutable.
var small = sync.OnceValue(func() *text.Model {
	m, _, err := text.Train(context.Background(), corpus.Generate(1, 600), text.Options{Epochs: 5}, nil)
	if err != nil {
		panic(err)
	}
	return m
})

func train(t *testing.T, examples []text.Example, opt text.Options) (*text.Model, text.Report) {
	t.Helper()
	start := time.Now()
	m, rep, err := text.Train(t.Context(), examples, opt, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("trained in %.1f s", time.Since(start).Seconds())
	return m, rep
}

func evaluate(t *testing.T, m *text.Model, examples []text.Example) text.Report {
	t.Helper()
	rep, err := m.Evaluate(examples)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("accuracy %s, macro F1 %s, certainty %s, majority %s, model %d bytes",
		rep.Accuracy, rep.MacroF1, rep.Certainty, rep.Majority, len(m.Marshal()))
	return rep
}

func TestBanking77(t *testing.T) {
	t.Parallel()
	m, _ := train(t, banking77(t, "train"), text.Options{})
	rep := evaluate(t, m, banking77(t, "test"))
	if rep.Accuracy < 900_000 {
		t.Errorf("accuracy %s, want at least 0.90", rep.Accuracy)
	}
	if gap := rep.Accuracy - rep.Certainty; gap < -30_000 || gap > 30_000 {
		t.Errorf("certainty %s for accuracy %s: the probabilities mislead", rep.Certainty, rep.Accuracy)
	}
}

func TestSMSSpam(t *testing.T) {
	t.Parallel()
	all := smsSpam(t)
	cut := len(all) * 4 / 5
	m, _ := train(t, all[:cut], text.Options{})
	if rep := evaluate(t, m, all[cut:]); rep.Accuracy < 980_000 {
		t.Errorf("accuracy %s, want at least 0.98", rep.Accuracy)
	}
}

// Training gives the same file on every machine. The digest was made on amd64.
func TestTrainGolden(t *testing.T) {
	t.Parallel()
	const want = "a8bea635abb8"
	if got := core.DigestOf(small().Marshal()).Short(); got != want {
		t.Errorf("digest %s, want %s", got, want)
	}
}

func TestTrainDependsOnSeedAndOptionsAlone(t *testing.T) {
	t.Parallel()
	data := corpus.Generate(3, 200)
	base := text.Options{Epochs: 2, Seed: 5}
	a, repA := train(t, data, base)
	b, repB := train(t, data, base)
	if !bytes.Equal(a.Marshal(), b.Marshal()) || !reflect.DeepEqual(repA, repB) {
		t.Error("the same call gave another result")
	}
	for name, change := range map[string]func(*text.Options){
		"seed": func(o *text.Options) { o.Seed++ }, "epochs": func(o *text.Options) { o.Epochs++ },
		"rate": func(o *text.Options) { o.LearningRate = 0.3 }, "l2": func(o *text.Options) { o.L2 = 0.01 },
		"dropout": func(o *text.Options) { o.Dropout = -1 }, "bits": func(o *text.Options) { o.Bits = 12 },
		"count": func(o *text.Options) { o.MinCount = 5 }, "holdout": func(o *text.Options) { o.Holdout = -1 },
	} {
		opt := base
		change(&opt)
		if m, _ := train(t, data, opt); bytes.Equal(a.Marshal(), m.Marshal()) {
			t.Errorf("another %s changed nothing", name)
		}
	}
}

func TestTrainReport(t *testing.T) {
	t.Parallel()
	var last text.Progress
	calls := 0
	_, rep, err := text.Train(t.Context(), corpus.Generate(2, 500), text.Options{Epochs: 4}, func(p text.Progress) {
		if p.Done < last.Done || p.Done > p.Total {
			t.Errorf("progress went from %v to %v", last, p)
		}
		last = p
		calls++
	})
	if err != nil {
		t.Fatal(err)
	}
	if last.Done != last.Total || last.Total != (450+500)*4 || calls < 4 {
		t.Errorf("last of %d progress calls: %+v", calls, last)
	}
	sum := 0
	for _, c := range rep.PerClass {
		sum += c.Examples
	}
	if rep.Examples != 50 || sum != 50 || len(rep.PerClass) != len(corpus.Intents()) {
		t.Errorf("report on %d examples, %d by class, in %d classes", rep.Examples, sum, len(rep.PerClass))
	}
	if rep.Accuracy <= rep.Majority || rep.Accuracy > 1_000_000 {
		t.Errorf("accuracy %s, majority %s", rep.Accuracy, rep.Majority)
	}
}

func TestEvaluateCountsByHand(t *testing.T) {
	t.Parallel()
	m, _ := train(t, twoClasses(20), text.Options{Holdout: -1})
	rep := evaluate(t, m, []text.Example{
		{Text: "red rose", Label: "red"}, {Text: "red wine", Label: "red"}, {Text: "blue sky", Label: "red"},
		{Text: "blue sea", Label: "blue"}, {Text: "blue sky", Label: "green"},
	})
	want := text.Report{
		Examples: 5, Accuracy: 600_000, Majority: 600_000, Certainty: rep.Certainty,
		// blue: 1 of 3 named, 1 of 1 found; red: 2 of 2, 2 of 3; green never.
		MacroF1: (500_000 + 800_000 + 0) / 3,
		PerClass: []text.ClassScore{
			{Label: "blue", Examples: 1, Precision: 333_333, Recall: 1_000_000, F1: 500_000},
			{Label: "red", Examples: 3, Precision: 1_000_000, Recall: 666_666, F1: 800_000},
		},
	}
	if !reflect.DeepEqual(rep, want) {
		t.Errorf("report %+v\nwant %+v", rep, want)
	}
}

func twoClasses(n int) []text.Example {
	var out []text.Example
	for range n {
		out = append(out, text.Example{Text: "red rose wine", Label: "red"}, text.Example{Text: "blue sky sea", Label: "blue"})
	}
	return out
}

func TestTrainRefuses(t *testing.T) {
	t.Parallel()
	good := twoClasses(5)
	with := func(x text.Example) []text.Example { return append(twoClasses(5), x) }
	nan := float32(math.NaN())
	for name, c := range map[string]struct {
		data []text.Example
		opt  text.Options
		says string
	}{
		"nothing":       {nil, text.Options{}, "0 different labels"},
		"one label":     {good[:1], text.Options{}, "1 different labels"},
		"empty label":   {with(text.Example{Text: "a"}), text.Options{}, "example 11"},
		"control label": {with(text.Example{Text: "a", Label: "a\x00"}), text.Options{}, "example 11"},
		"long label":    {with(text.Example{Text: "a", Label: strings.Repeat("a", 201)}), text.Options{}, "example 11"},
		"long text":     {with(text.Example{Text: strings.Repeat("a", text.MaxText+1), Label: "a"}), text.Options{}, "example 11"},
		"bad utf-8":     {with(text.Example{Text: "\xff", Label: "a"}), text.Options{}, "example 11"},
		"epochs":        {good, text.Options{Epochs: 1001}, "epochs"},
		"rate":          {good, text.Options{LearningRate: -1}, "learning rate"},
		"rate is nan":   {good, text.Options{LearningRate: nan}, "learning rate"},
		"l2 is nan":     {good, text.Options{L2: nan}, "L2"},
		"bits":          {good, text.Options{Bits: 30}, "bits"},
		"holdout":       {good, text.Options{Holdout: 51}, "holdout"},
		"dropout":       {good, text.Options{Dropout: 100}, "dropout"},
		"count":         {good, text.Options{MinCount: -1}, "count"},
	} {
		_, _, err := text.Train(t.Context(), c.data, c.opt, nil)
		if !errors.Is(err, text.ErrData) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: error %v, want one that is %q and says %q", name, err, text.ErrData, c.says)
		}
	}
}

func TestTrainStops(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	_, _, err := text.Train(ctx, corpus.Generate(1, 600), text.Options{Epochs: 1000}, func(p text.Progress) {
		if p.Done > 0 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
}

func TestClassify(t *testing.T) {
	t.Parallel()
	m := small()
	res, err := m.Classify("The ATM swallowed my card!", 3, 2)
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Classes) != 3 || res.Classes[0].Label != "card_swallowed" || res.Classes[0].P < 800_000 {
		t.Errorf("classes %v", res.Classes)
	}
	if len(res.Reasons) != 2 || res.Reasons[0].Feature != "swallowed" || res.Reasons[0].Weight <= res.Reasons[1].Weight {
		t.Errorf("reasons %v", res.Reasons)
	}
	full, err := m.Classify("The ATM swallowed my card!", 1000, 1000)
	if err != nil {
		t.Fatal(err)
	}
	sum := 0
	for i, c := range full.Classes {
		sum += int(c.P)
		if i > 0 && c.P > full.Classes[i-1].P {
			t.Errorf("%v after %v", c, full.Classes[i-1])
		}
	}
	if len(full.Classes) != len(m.Labels()) || sum < 999_900 || sum > 1_000_100 {
		t.Errorf("%d classes with probabilities that add up to %d ppm", len(full.Classes), sum)
	}
	if !reflect.DeepEqual(full.Classes[:3], res.Classes) || !reflect.DeepEqual(full.Reasons[:2], res.Reasons) {
		t.Errorf("asked for more, got others: %v, then %v", res, full)
	}
}

func TestClassifyOddTexts(t *testing.T) {
	t.Parallel()
	m := small()
	for _, s := range []string{
		"", " \n", "...", "\xff\xfe\x80", "\x00", strings.Repeat("a", text.MaxText), strings.Repeat("a ", text.MaxText/2),
		strings.Repeat("\uFDFA", text.MaxText/3), strings.Repeat("\u0301", text.MaxText/2), "qqqqzz wwwwxx", "💳💳❗",
	} {
		res, err := m.Classify(s, 1, 5)
		if err != nil || len(res.Classes) != 1 || res.Classes[0].P <= 0 || res.Classes[0].P > 1_000_000 {
			t.Errorf("%.20q: %v, %v", s, res, err)
		}
	}
	if _, err := m.Classify(strings.Repeat("a", text.MaxText+1), 1, 0); err == nil {
		t.Error("an endless text was accepted")
	}
}

func TestFixedText(t *testing.T) {
	t.Parallel()
	for p, want := range map[text.PPM]string{0: "0.0000", 49: "0.0000", 50: "0.0001", 931_249: "0.9312", 999_950: "1.0000", 1_000_000: "1.0000"} {
		if got := p.String(); got != want {
			t.Errorf("%d ppm is written %s, want %s", int(p), got, want)
		}
	}
	for m, want := range map[text.Micro]string{0: "0.000", 1_204_499: "1.204", -1_204_500: "-1.205", -499: "0.000", -500: "-0.001", 123_456_789_000: "123456.789"} {
		if got := m.String(); got != want {
			t.Errorf("%d millionths are written %s, want %s", int64(m), got, want)
		}
	}
}

func BenchmarkClassify(b *testing.B) {
	m := small()
	data := corpus.Generate(9, 1000)
	for name, reasons := range map[string]int{"plain": 0, "reasons": 3} {
		b.Run(name, func(b *testing.B) {
			i := 0
			for b.Loop() {
				if _, err := m.Classify(data[i%len(data)].Text, 1, reasons); err != nil {
					b.Fatal(err)
				}
				i++
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "texts/s")
		})
	}
}
