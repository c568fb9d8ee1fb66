// Package tokenizer turns text into a language model's tokens and back, by the
// vocabulary that comes with the model.
//
// A [Vocab] is a plain value; it is made from GGUF metadata ([FromGGUF]), from
// Hugging Face's tokenizer.json ([FromHF]) or from llama2.c's tok.bin
// ([FromLlama2c]), and written into GGUF metadata by [Vocab.Metadata]. [New]
// checks it once and makes a [Tokenizer], which is immutable and may be used by
// many goroutines.
//
// # Two ways of cutting
//
// Both begin with small pieces and join, again and again, the pair of
// neighbours that ranks best, the leftmost among equals, until no pair is left.
//
// [BPE] (GPT-2, Llama 3, Qwen): the text is first cut by a pre-tokenizer, a
// pattern named by [Vocab.Pre]; no token crosses such a cut. Pieces begin as
// single bytes. A pair ranks by its line in [Vocab.Merges]. In the vocabulary
// each byte is spelled by a printable letter of its own (space is Ġ), as
// GPT-2 does.
//
// [SPM] (Llama 2, Mistral, llama2.c; "SentencePiece"): spaces become ▁ (U+2581)
// and one may be put in front ([Vocab.Prefix]). Pieces begin as characters. A
// pair ranks by the score of the token that it makes, highest first, or by
// [Vocab.Merges] if there are any. A character that is no token becomes the
// tokens of its bytes, <0x00> to <0xFF>.
//
// The pre-tokenizers, with Unicode's classes L (letter), N (number) and white
// space; written by hand because Go's regexp has no lookahead:
//
//	gpt-2      's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
//	llama-bpe  (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|
//	           ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
//	           a cut that is itself a token is taken whole, whatever the merges
//	qwen2      as llama-bpe, but \p{N} alone; the text is first brought to NFC;
//	           a cut is never taken whole
//	smollm     each number character by itself, what is between by gpt-2
//
// # Special tokens
//
// A user's words must never become control tokens: "<|im_end|>" typed into a
// chat is text. [Tokenizer.Encode] therefore cuts control tokens out of a text
// only where the caller says that it wrote the text, as chat templates do.
//
// # Bad input
//
// Parsers refuse doubled or empty tokens, merges of what is no token, ids out of
// range, a vocabulary that cannot spell every byte; errors wrap [ErrVocab].
// Encoding and decoding never fail: invalid UTF-8 is read as U+FFFD, ids out of
// range give nothing.
package tokenizer

import "errors"

// ErrVocab means that a vocabulary is malformed or of a kind that is not
// understood.
var ErrVocab = errors.New("not a usable vocabulary")

// What a vocabulary may hold at most.
const (
	maxTokens   = 1 << 20
	maxMerges   = 1 << 21
	maxToken    = 1 << 12 // bytes of one token
	maxTemplate = 1 << 18 // bytes of a chat template
	maxStops    = 64
)
