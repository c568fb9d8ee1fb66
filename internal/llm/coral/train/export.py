"""Writes the trained weights as a directory of Hugging Face's.

    python export.py work directory
    atoll model import directory --output ../coral.gguf
"""
import json
import pathlib
import sys

import jax
import numpy as np
from safetensors.numpy import save_file

from text import CHAPTER
from train import EPS, SEED, SHAPE, THETA, load, new_weights, optimizer

# The model goes on with a text; it knows no roles. A conversation is therefore
# read as one text, and an answer is what comes next in it.
TEMPLATE = "{% for m in messages %}{{ m['content'] }}{% endfor %}"


def main(work, directory):
    directory.mkdir(parents=True, exist_ok=True)
    w = new_weights(np.random.default_rng(SEED))
    like = w, optimizer(3, 1).init(w)  # any schedule has this shape
    (w, _), step = load(work / "state.npz", like)
    save_file({name: np.asarray(a) for name, a in w.items()}, directory / "model.safetensors")
    config = {
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_act": "silu",
        "hidden_size": SHAPE["dim"], "intermediate_size": SHAPE["ffn"], "num_hidden_layers": SHAPE["layers"],
        "num_attention_heads": SHAPE["heads"], "num_key_value_heads": SHAPE["kv_heads"], "head_dim": SHAPE["head_dim"],
        "vocab_size": SHAPE["vocab"], "max_position_embeddings": SHAPE["context"],
        "rms_norm_eps": EPS, "rope_theta": THETA, "tie_word_embeddings": True,
    }
    (directory / "config.json").write_text(json.dumps(config, indent=2))
    (directory / "tokenizer.json").write_text((work / "tokenizer.json").read_text())
    (directory / "tokenizer_config.json").write_text(json.dumps(
        {"bos_token": CHAPTER, "eos_token": CHAPTER, "chat_template": TEMPLATE}, indent=2))
    print(f"step {step}, {sum(a.size for a in jax.tree.leaves(w))} weights")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
