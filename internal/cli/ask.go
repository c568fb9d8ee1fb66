package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"atoll/api"
	"atoll/internal/core"
)

// asker asks the person at the terminal for what the flags leave open.
type asker struct {
	in  *bufio.Reader
	out io.Writer
}

// asker is nil where nobody is there to answer, or nobody wants to be asked.
func (s *session) asker(yes bool) *asker {
	if yes || s.asJSON || !s.env.Interactive {
		return nil
	}
	return &asker{in: bufio.NewReader(s.env.Stdin), out: s.err}
}

// ask repeats a question until the answer is accepted, and says why it was not.
func (a *asker) ask(ctx context.Context, question string, accept func(answer string) error) error {
	for {
		fmt.Fprintf(a.out, "%s ", question)
		answer, err := a.line(ctx)
		if err != nil {
			return err
		}
		if err = accept(answer); err == nil {
			return nil
		}
		fmt.Fprintln(a.out, err)
	}
}

// line waits for an answer, but not longer than ctx. What is typed after that is
// lost: the process ends.
func (a *asker) line(ctx context.Context) (string, error) {
	type answer struct {
		text string
		err  error
	}
	got := make(chan answer, 1)
	go func() {
		text, err := a.in.ReadString('\n')
		got <- answer{strings.TrimSpace(text), err}
	}()
	select {
	case g := <-got:
		if errors.Is(g.err, io.EOF) && g.text == "" {
			return "", usagef("no answer: give what is missing as flags, or --yes to take the defaults")
		}
		return g.text, nil
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// country asks where the node stands. There is no default: residency is held to it.
func (a *asker) country(ctx context.Context) (code string, err error) {
	err = a.ask(ctx, "In which country does this machine stand? Two letters of ISO 3166, such as FR:", func(answer string) (err error) {
		code, err = country(answer)
		return err
	})
	return code, err
}

// server asks which of the servers found is to be offered; "" if none.
func (a *asker) server(ctx context.Context, servers []FoundServer) (url string, err error) {
	for _, x := range servers {
		if len(x.Models) == 0 {
			continue
		}
		offer := false
		err := a.ask(ctx, fmt.Sprintf("Offer %s of %s at %s to others? [y/N]", clean(strings.Join(x.Models, ", ")), x.Name, x.URL), func(answer string) error {
			switch strings.ToLower(answer) {
			case "y", "yes":
				offer = true
			case "", "n", "no":
			default:
				return errors.New("y or n, please")
			}
			return nil
		})
		if err != nil || offer {
			return x.URL, err
		}
	}
	return "", nil
}

// price asks for the price of a lease.
func (a *asker) price(ctx context.Context, suggested core.Money) (p core.Money, err error) {
	err = a.ask(ctx, fmt.Sprintf("Credits for each lease? [%s]", suggested), func(answer string) (err error) {
		if p = suggested; answer != "" {
			p, err = money("the price", answer)
		}
		return err
	})
	return p, err
}

// fill asks for what the flags leave open, before the node joins.
func (a *asker) fill(ctx context.Context, f *nodeFlags, found *Found, priced bool) (err error) {
	if f.cfg.Country == "" {
		if f.cfg.Country, err = a.country(ctx); err != nil {
			return err
		}
	}
	if f.server.url == "" {
		if f.server.url, err = a.server(ctx, found.Servers); err != nil {
			return err
		}
	}
	if !priced {
		p, err := money("--price", f.price)
		if err != nil {
			return err
		}
		if p, err = a.price(ctx, p); err != nil {
			return err
		}
		f.price = p.String()
	}
	return nil
}

// reprice asks whether the market's price is to be taken, once it is known.
func (a *asker) reprice(ctx context.Context, n *api.Node) (core.Money, error) {
	if n.Comparable == nil || n.Comparable.Price == n.Price {
		return n.Price, nil
	}
	fmt.Fprintf(a.out, "the node works for %s until you answer; Enter takes the suggested price\n", n.Price)
	return a.price(ctx, n.Comparable.Price)
}
