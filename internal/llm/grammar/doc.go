// Package grammar holds a model's answer to a form: a regular expression, or a
// JSON schema.
//
//	g, err := grammar.FromSchema([]byte(`{"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}`))
//	vocab := grammar.NewVocabulary(pieces, stops)   // once for a tokenizer
//	m := grammar.NewMatcher(g, vocab)               // once for an answer
//	err = m.Mask(logits)                            // −Inf for each token that must not come now
//	err = m.Accept(token)
//
// A form is compiled to a small program over bytes, run like a regular
// expression's, by all its threads at once; rules may call each other, so nested
// and recursive values are forms too. The states that an answer comes through are
// kept, and so are the masks that belong to them: most tokens meet a state that
// was seen before. Memory and the time of a step are bounded, whatever the form.
//
// What may come next depends on the form, the vocabulary and the text so far alone,
// so an answer under a form can be computed again like any other.
//
// # Regular expressions
//
// Syntax and meaning are those of Go's regexp (RE2). The whole answer matches.
// ^ and $ may stand at the ends only, \b and \B nowhere.
//
// # JSON schemas
//
// Understood are type, properties, required, additionalProperties, items,
// minItems, maxItems, minLength, maxLength, pattern, enum, const, anyOf, and $ref
// to a place in the same schema; title, description, default, examples, format
// and the like say nothing of the form. Any other keyword is refused by name: it
// would have asked for another answer. Answers have no space but one after : and ,
// where the model likes it. Of an object with properties only these come, in their
// order. An object without them has any.
package grammar

import "errors"

// ErrForm means that a regular expression or schema cannot be used; the message
// says why.
var ErrForm = errors.New("form refused")
