"""Makes two small models with random weights in each of the forms that the tests
compare: a directory of Hugging Face's and the GGUF file that gguf-py writes of it.

    pip install gguf safetensors numpy && python make.py

llama/ is two bfloat16 shards with Llama 3.1's rotary scaling and a matrix whose
rows are no multiple of 32; qwen3/ is float16, tied, with norms over heads. The
tokenizer is ../../tokenizer/testdata's. The GGUF files hold the same weights with
llama's q and k in GGUF's order, and *-q8.gguf the same as Q8_0 (by gguf-py).
"""
import json, math, os, shutil
import numpy as np
import gguf
from gguf.quants import quantize
from gguf.constants import GGMLQuantizationType as T
from safetensors.numpy import save_file

TOK = "../../tokenizer/testdata/"
rng = np.random.default_rng(7)


def bf16(x):
    return (x.astype("<f4").view("<u4") >> 16).astype("<u2")


def wide(b):
    return (b.astype("<u4") << 16).view("<f4")


def shapes(c):
    d, q, kv, f = c["hidden_size"], c["num_attention_heads"] * c["head_dim"], c["num_key_value_heads"] * c["head_dim"], c["intermediate_size"]
    yield "model.embed_tokens.weight", "token_embd.weight", (c["vocab_size"], d)
    for l in range(c["num_hidden_layers"]):
        h, g = f"model.layers.{l}.", f"blk.{l}."
        yield h + "input_layernorm.weight", g + "attn_norm.weight", (d,)
        yield h + "self_attn.q_proj.weight", g + "attn_q.weight", (q, d)
        yield h + "self_attn.k_proj.weight", g + "attn_k.weight", (kv, d)
        yield h + "self_attn.v_proj.weight", g + "attn_v.weight", (kv, d)
        if c["model_type"] == "qwen3":
            yield h + "self_attn.q_norm.weight", g + "attn_q_norm.weight", (c["head_dim"],)
            yield h + "self_attn.k_norm.weight", g + "attn_k_norm.weight", (c["head_dim"],)
        yield h + "self_attn.o_proj.weight", g + "attn_output.weight", (d, q)
        yield h + "post_attention_layernorm.weight", g + "ffn_norm.weight", (d,)
        yield h + "mlp.gate_proj.weight", g + "ffn_gate.weight", (f, d)
        yield h + "mlp.up_proj.weight", g + "ffn_up.weight", (f, d)
        yield h + "mlp.down_proj.weight", g + "ffn_down.weight", (d, f)
    yield "model.norm.weight", "output_norm.weight", (d,)
    if not c["tie_word_embeddings"]:
        yield "lm_head.weight", "output.weight", (c["vocab_size"], d)


def permute(w, heads):  # as llama.cpp's converter does
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def save_bf16(tensors, path):
    """safetensors has no numpy bfloat16: store as U16 and correct the header."""
    save_file(tensors, path)
    raw = open(path, "rb").read()
    n = int.from_bytes(raw[:8], "little")
    head = raw[8:8 + n].replace(b'"U16"', b'"BF16"')
    head = head.rstrip(b" ") + b" " * (-len(head.rstrip(b" ")) % 8)
    open(path, "wb").write(len(head).to_bytes(8, "little") + head + raw[8 + n:])


def llama3_factors(c):
    s, out = c["rope_scaling"], []
    for i in range(c["head_dim"] // 2):
        wavelen = 2 * math.pi * c["rope_theta"] ** (2 * i / c["head_dim"])
        old = s["original_max_position_embeddings"]
        if wavelen < old / s["high_freq_factor"]:
            out.append(1)
        elif wavelen > old / s["low_freq_factor"]:
            out.append(s["factor"])
        else:
            t = (old / wavelen - s["low_freq_factor"]) / (s["high_freq_factor"] - s["low_freq_factor"])
            out.append(1 / ((1 - t) / s["factor"] + t))
    return np.array(out, dtype=np.float32)


def metadata(w, c, tok):
    w.add_block_count(c["num_hidden_layers"]); w.add_context_length(c["max_position_embeddings"]); w.add_embedding_length(c["hidden_size"])
    w.add_feed_forward_length(c["intermediate_size"]); w.add_head_count(c["num_attention_heads"]); w.add_head_count_kv(c["num_key_value_heads"])
    w.add_key_length(c["head_dim"]); w.add_value_length(c["head_dim"]); w.add_layer_norm_rms_eps(c["rms_norm_eps"]); w.add_rope_freq_base(c["rope_theta"])
    w.add_rope_dimension_count(c["head_dim"])
    j = json.load(open(TOK + tok + ".json"))
    vocab, kinds = dict(j["model"]["vocab"]), {}
    for a in j["added_tokens"]:
        vocab[a["content"]] = a["id"]; kinds[a["id"]] = 3 if a["special"] else 4
    by_id = {i: t for t, i in vocab.items()}
    w.add_tokenizer_model("gpt2"); w.add_tokenizer_pre(tok)
    w.add_token_list([by_id.get(i, f"[PAD{i}]") for i in range(c["vocab_size"])])
    w.add_token_types([kinds.get(i, 1 if i in by_id else 5) for i in range(c["vocab_size"])])
    w.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in j["model"]["merges"]])
    if tok == "llama-bpe":
        w.add_bos_token_id(vocab["<|begin|>"]); w.add_add_bos_token(True)
    else:
        w.add_add_bos_token(False)
    w.add_eos_token_id(vocab["<|end|>"]); w.add_add_space_prefix(False)


def make(name, c, tok, store):
    os.makedirs(name, exist_ok=True)
    for f in os.listdir(name):
        os.remove(f"{name}/{f}")
    json.dump(c, open(f"{name}/config.json", "w"), indent=1)
    shutil.copy(f"{TOK}{tok}.json", f"{name}/tokenizer.json")
    json.dump({"eos_token": {"content": "<|end|>"}}, open(f"{name}/tokenizer_config.json", "w"))
    plain, stored, names = {}, {}, {}
    for hf, gg, shape in shapes(c):
        x = rng.normal(1 if len(shape) == 1 else 0, 0.1, shape).astype("<f4")
        stored[hf] = bf16(x) if store == "bf16" else x.astype("<f2")
        plain[hf] = wide(stored[hf]) if store == "bf16" else stored[hf].astype("<f4")
        names[hf] = gg
    if store == "bf16":
        keys = list(stored); half = len(keys) // 2
        index = {}
        for i, part in enumerate((keys[:half], keys[half:])):
            file = f"model-{i + 1:05d}-of-00002.safetensors"
            save_bf16({k: stored[k] for k in part}, f"{name}/{file}")
            index |= {k: file for k in part}
        json.dump({"metadata": {"total_size": 1}, "weight_map": index}, open(f"{name}/model.safetensors.index.json", "w"), indent=1)
    else:
        save_file(stored | {"lm_head.weight": stored["model.embed_tokens.weight"].copy()}, f"{name}/model.safetensors")
    for kind in (store, "q8"):
        w = gguf.GGUFWriter(f"{name}-{kind}.gguf", c["model_type"])
        metadata(w, c, tok)
        if "rope_scaling" in c:
            w.add_tensor("rope_freqs.weight", llama3_factors(c))
        for hf, x in plain.items():
            if c["model_type"] == "llama" and ".q_proj" in hf:
                x = permute(x, c["num_attention_heads"])
            if c["model_type"] == "llama" and ".k_proj" in hf:
                x = permute(x, c["num_key_value_heads"])
            if kind == "q8" and x.ndim == 2 and x.shape[1] % 32 == 0:
                w.add_tensor(names[hf], quantize(x, T.Q8_0), raw_dtype=T.Q8_0)
            elif kind == "bf16" and x.ndim == 2:
                w.add_tensor(names[hf], quantize(x, T.BF16), raw_dtype=T.BF16)
            elif kind == "f16" and x.ndim == 2:
                w.add_tensor(names[hf], x.astype(np.float16))
            else:
                w.add_tensor(names[hf], x.copy())
        w.write_header_to_file(); w.write_kv_data_to_file(); w.write_tensors_to_file(); w.close()


base = {"hidden_act": "silu", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "torch_dtype": "bfloat16"}
make("llama", base | {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "head_dim": 8, "vocab_size": 432, "tie_word_embeddings": False,
     "rope_theta": 500000.0, "attention_bias": False, "mlp_bias": False,
     "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}}, "llama-bpe", "bf16")
qwen = base | {"model_type": "qwen3", "head_dim": 16, "vocab_size": 448, "tie_word_embeddings": True, "rope_theta": 1000000.0,
               "sliding_window": None, "use_sliding_window": False, "attention_bias": False}
make("qwen3", qwen, "qwen2", "f16")
