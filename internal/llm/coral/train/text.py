"""Text for the model: Jane Austen's six novels, as tokens.

    apt-get download r-cran-janeaustenr && dpkg -x r-cran-janeaustenr_*.deb package
    python text.py package work

The package holds each novel as lines of at most about 75 letters. Here lines
become paragraphs, one a line; headings go; a control token stands before each
chapter. Every 33rd chapter is held out: the tokenizer and the weights never
see it.

work/ then has tokenizer.json, train.npy, held.npy (token ids) and sizes.json
(bytes of text in each).
"""
import json
import pathlib
import re
import sys
import zlib

import numpy as np
import rdata
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

VOCABULARY = 2048
CHAPTER = "<|chapter|>"  # begins and ends every text
HEADING = re.compile(r"\s*(chapter|volume)\s+[ivxlc\d]+\.?\s*", re.IGNORECASE)
ENDING = re.compile(r"\s*(the end|finis)\.?\s*", re.IGNORECASE)
NOTE = re.compile(r"\s*a note on the text\s*", re.IGNORECASE)  # the transcriber's, behind Northanger Abbey


def novels(package):
    """Yields each novel's lines out of R's database of lazily loaded objects."""
    (database,) = package.rglob("data/Rdata.rdb")
    rest = database.read_bytes()
    while rest:  # each object: its length in four bytes, then a zlib stream
        stream = zlib.decompressobj()
        lines = rdata.conversion.convert(rdata.parser.parse_data(stream.decompress(rest[4:]), extension=".rds"))
        rest = stream.unused_data
        yield [str(line) for line in lines]


def chapters(lines):
    """Yields each chapter as paragraphs, one a line; title pages are left out."""
    paragraphs, words, begun = [], [], False
    for line in [*lines, "", "CHAPTER 0"]:
        if HEADING.fullmatch(line) or NOTE.fullmatch(line):
            if begun and paragraphs:
                yield "\n".join(paragraphs) + "\n"
            paragraphs, begun = [], not NOTE.fullmatch(line)
        elif line.strip() and not ENDING.fullmatch(line):
            words += line.replace("_", "").split()
        elif words:
            paragraphs.append(" ".join(words))
            words = []


def train_tokenizer(texts):
    """Byte-level BPE with GPT-2's pattern, which internal/llm/tokenizer calls gpt2."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=[CHAPTER], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return tokenizer


def main(package, work):
    work.mkdir(parents=True, exist_ok=True)
    every = [text for lines in novels(package) for text in chapters(lines)]
    parts = {
        "train": [t for i, t in enumerate(every) if i % 33 != 16],
        "held": [t for i, t in enumerate(every) if i % 33 == 16],
    }
    tokenizer = train_tokenizer(parts["train"])
    tokenizer.save(str(work / "tokenizer.json"))
    sizes = {}
    for name, texts in parts.items():
        ids = tokenizer.encode("".join(CHAPTER + t for t in texts)).ids
        np.save(work / f"{name}.npy", np.array(ids, np.uint16))
        sizes[name] = sum(len(t.encode()) for t in texts)
        print(f"{name}: {len(texts)} chapters, {sizes[name]} bytes, {len(ids)} tokens")
    (work / "sizes.json").write_text(json.dumps(sizes))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
