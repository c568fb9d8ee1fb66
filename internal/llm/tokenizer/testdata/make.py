"""Makes small vocabularies and what their own libraries make of some texts.

    pip install tokenizers sentencepiece && python make.py

*.json with "model" are tokenizer.json files by Hugging Face's tokenizers, trained
on the text below; *.cases.json hold texts and their tokens by that library.
sentencepiece.json holds pieces, scores and tokens by SentencePiece.
"""
import io, json
import sentencepiece as spm
from tokenizers import Tokenizer, models, trainers, pre_tokenizers as pre, normalizers as norm, decoders, processors, Regex, AddedToken

TEXT = [
    "Once upon a time there was an island that kept its own ground, and all of the islands used the lagoon.",
    "We'll see what they've done; I'd say it's fine, don't you? YOU'RE RIGHT, IT'S FINE.",
    "func main() {\n\tfor i := 0; i < 1234567; i++ {\n\t\tfmt.Println(\"i =\", i)\n\t}\n}\n",
    "Der Hund läuft über die Straße, während größere Bäume blühen. Où est la forêt? L'été, ça va déjà.",
    "Привет, мир! Как дела сегодня? 今天天气很好，我们去公园散步吧。 日本語のテキスト。 한국어 문장입니다.",
    "    indented text   with    many     spaces\n\n\nand lines\r\n\r\n  end  ",
    "In 2024 there were 365 days, 12 months and 52 weeks; 3.14159 and 1,000,000.",
] * 4

CASES = TEXT[:7] + [
    "", " ", "  ", "   a", "a   ", "\n", "\n\n", " \n ", "\t\tx", "a\n b", "a \n\n  b", "\r\n\r\nx", "hello", " hello", "  hello", "hello ",
    "I'm we'RE they'VE he'D she'Ll it'S 'S 'x ' 's's", "l'été d'accord", "'\u017f x'\u017f", "don\u2019t",
    "1 12 123 1234 12345 123456789 a1b22c333", "\u0663\u0664 \u00bd \u2167 \u00b2\u00b3 x\u00b2", "3.14 -5 +7 1e10 $100 100%",
    "!!! ??? ...!?\n\n --- ===\n", "a.b.c,d;e:f", "#include <stdio.h>\n", "x=1;\n\ny=2;\n", "e\u0301te\u0301 \u1e9b\u0323 \ufb01", "\u0915\u094d\u0937\u093f \u0e01\u0e33",
    "\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea ok", "\u00a0x\u00a0\u00a0y\u2003z\u3000w\u0085v\u000b\u000cu\u2028t", "\u200bzero\ufeffwidth",
    "\u2581under\u2581score \u2581", "<|end|> text", "<tool> text<tool>", "a<|begin|>b<|end|>", "<0x41> <unk> <s>", "\u0120 \u010a", "\x00\x01\x7f\u0080",
    "mixed \u4f60\u597d123abc \u0434\u0430!", "ALLCAPS camelCase snake_case", "\ud7ff\ue000\U0010ffff", "a" * 70, " " * 40 + "x", "\n" * 9 + "x",
]

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
MODERN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SPECIALS = [AddedToken("<|begin|>", special=True), AddedToken("<|end|>", special=True)]
level = lambda regex: pre.ByteLevel(add_prefix_space=False, use_regex=regex)
split = lambda p: pre.Sequence([pre.Split(Regex(p), "isolated"), level(False)])


def save(name, t):
    t.add_special_tokens(SPECIALS)
    t.add_tokens([AddedToken("<tool>", special=False, normalized=False)])
    t.save(name + ".json", pretty=False)
    cases = []
    for text in CASES:
        ids = t.encode(text, add_special_tokens=False).ids
        cases.append({"text": text, "ids": ids, "whole": t.encode(text).ids, "decoded": t.decode(ids, skip_special_tokens=True)})
    json.dump(cases, open(name + ".cases.json", "w"), indent=0)


def byte_level(name, scheme, normalizer=None, whole=False, bos=False):
    t = Tokenizer(models.BPE(ignore_merges=whole))
    if normalizer:
        t.normalizer = normalizer
    t.pre_tokenizer = scheme
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(TEXT, trainers.BpeTrainer(vocab_size=420, initial_alphabet=pre.ByteLevel.alphabet(), show_progress=False))
    if whole:  # tokens that no merges make, to see that a whole cut is taken
        j = json.loads(t.to_str())
        for text in ["hello", "\u0120hello", "123"]:
            j["model"]["vocab"].setdefault(text, len(j["model"]["vocab"]))
        t = Tokenizer.from_str(json.dumps(j))
    if bos:
        t.add_special_tokens(SPECIALS)
        t.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), processors.TemplateProcessing(
            single="<|begin|> $A", pair="<|begin|> $A $B", special_tokens=[("<|begin|>", t.token_to_id("<|begin|>"))])])
    save(name, t)


def spaces(name, normalizer, scheme):
    """As tokenizer.json files of Llama 2 and Mistral are: BPE over characters with byte fallback."""
    t = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    t.normalizer = norm.Replace(" ", "\u2581")
    t.pre_tokenizer = pre.Metaspace(prepend_scheme="never", split=True)
    specials = ["<unk>", "<s>", "</s>"] + ["<0x%02X>" % b for b in range(256)]
    t.train_from_iterator(TEXT, trainers.BpeTrainer(vocab_size=620, limit_alphabet=90, special_tokens=specials, show_progress=False))
    j = json.loads(t.to_str())
    j["added_tokens"] = j["added_tokens"][:3]
    t = Tokenizer.from_str(json.dumps(j))
    t.normalizer = normalizer
    if scheme:
        t.pre_tokenizer = scheme
    else:
        j = json.loads(t.to_str())
        j["pre_tokenizer"] = None
        t = Tokenizer.from_str(json.dumps(j))
    t.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()] + ([decoders.Strip(" ", 1, 0)] if name != "spm-never" else []))
    t.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 1)])
    j = json.loads(t.to_str())
    if normalizer is None:
        j["normalizer"] = None
    save(name, Tokenizer.from_str(json.dumps(j)))


byte_level("gpt2", level(True))
byte_level("smollm", pre.Sequence([pre.Digits(individual_digits=True), level(True)]))
byte_level("llama-bpe", split(MODERN % "{1,3}"), whole=True, bos=True)
byte_level("qwen2", split(MODERN % ""), normalizer=norm.NFC())
replace = norm.Replace(" ", "\u2581")
spaces("spm-each", norm.Sequence([norm.Prepend("\u2581"), replace]), None)
spaces("spm-never", replace, None)
spaces("spm-first", None, pre.Metaspace(prepend_scheme="first", split=False))

model = io.BytesIO()
spm.SentencePieceTrainer.train(sentence_iterator=iter(TEXT * 20), model_writer=model, vocab_size=560, model_type="bpe", byte_fallback=True,
                               normalization_rule_name="identity", remove_extra_whitespaces=False, add_dummy_prefix=True, character_coverage=0.98,
                               allow_whitespace_only_pieces=True, split_digits=True, minloglevel=2)
sp = spm.SentencePieceProcessor(model_proto=model.getvalue())
kind = lambda i: 2 if sp.is_unknown(i) else 3 if sp.is_control(i) else 6 if sp.is_byte(i) else 1
texts = [c for c in CASES if "\x00" not in c]
json.dump({
    "tokens": [[sp.id_to_piece(i), sp.get_score(i), kind(i)] for i in range(sp.vocab_size())],
    "cases": [{"text": c, "ids": sp.encode(c), "decoded": sp.decode(sp.encode(c))} for c in texts],
}, open("sentencepiece.json", "w"), indent=0)
