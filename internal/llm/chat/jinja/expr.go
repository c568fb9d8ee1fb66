package jinja

// expr is an expression; eval gives its value or fails.
type expr interface {
	eval(s *state) Value
}

type (
	literal struct{ v Value }
	name    struct {
		line int
		id   string
	}
	list   struct{ items []expr }
	dict   struct{ keys, values []expr }
	member struct { // a.b and a['b']
		line int
		of   expr
		key  expr
	}
	slice struct { // a[low:high:step], each perhaps nil
		line            int
		of              expr
		low, high, step expr
	}
	call struct {
		line  int
		f     expr
		args  []expr
		named []keyword
	}
	keyword struct {
		name string
		v    expr
	}
	filter struct { // of | name(args)
		line  int
		of    expr
		name  string
		args  []expr
		named []keyword
	}
	test struct { // of is name(args)
		line int
		of   expr
		name string
		args []expr
		not  bool
	}
	not    struct{ of expr }
	and    struct{ a, b expr }
	or     struct{ a, b expr }
	choice struct{ cond, yes, no expr } // no may be nil
	unary  struct {
		line int
		op   string
		of   expr
	}
	binary struct {
		line int
		op   string
		a, b expr
	}
	compare struct { // a < b < c
		line  int
		first expr
		ops   []string
		rest  []expr
	}
)
