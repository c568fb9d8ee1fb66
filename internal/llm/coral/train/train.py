"""Trains the model: a Llama of a million weights, in JAX, on a CPU.

    python train.py work --steps 2100

Reads what text.py wrote; writes work/state.npz every few minutes and at the end.
Started again it goes on from there, on the same batches: they are drawn from
the step's number, so an interrupted run ends with the weights of an
uninterrupted one. Each line printed is

    step  tokens  train bits per byte  held-out bits per byte  tokens/s
"""
import argparse
import json
import math
import pathlib
import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

# What config.json will say. Every width is a multiple of 32, the block of Q8_0.
SHAPE = dict(dim=128, layers=4, heads=4, kv_heads=2, head_dim=32, ffn=352, vocab=2048, context=256)
THETA = 10000.0  # base of the rotary embedding
EPS = 1e-5  # of the RMS norms
SEED = 1


def new_weights(rng):
    """Weights by Hugging Face's names, [rows = outputs, columns = inputs]."""
    s, w = SHAPE, {}
    heads, kv = s["heads"] * s["head_dim"], s["kv_heads"] * s["head_dim"]

    def normal(rows, columns, scale=1.0):
        return (rng.standard_normal((rows, columns)) * scale / math.sqrt(columns)).astype(np.float32)

    into = 1 / math.sqrt(2 * s["layers"])  # what is added to the residual stream begins small
    w["model.embed_tokens.weight"] = (rng.standard_normal((s["vocab"], s["dim"])) * 0.02).astype(np.float32)
    for i in range(s["layers"]):
        at = f"model.layers.{i}."
        w[at + "input_layernorm.weight"] = np.ones(s["dim"], np.float32)
        w[at + "self_attn.q_proj.weight"] = normal(heads, s["dim"])
        w[at + "self_attn.k_proj.weight"] = normal(kv, s["dim"])
        w[at + "self_attn.v_proj.weight"] = normal(kv, s["dim"])
        w[at + "self_attn.o_proj.weight"] = normal(s["dim"], heads, into)
        w[at + "post_attention_layernorm.weight"] = np.ones(s["dim"], np.float32)
        w[at + "mlp.gate_proj.weight"] = normal(s["ffn"], s["dim"])
        w[at + "mlp.up_proj.weight"] = normal(s["ffn"], s["dim"])
        w[at + "mlp.down_proj.weight"] = normal(s["dim"], s["ffn"], into)
    w["model.norm.weight"] = np.ones(s["dim"], np.float32)
    return w


def norm(x, gain):
    return x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + EPS) * gain


def rotate(x):
    """Rotary embedding of [batch, position, head, dimension], halves rotated."""
    half = x.shape[-1] // 2
    angle = jnp.arange(x.shape[1])[:, None] * THETA ** (-jnp.arange(half) / half)
    cos, sin = jnp.cos(angle)[:, None, :], jnp.sin(angle)[:, None, :]
    a, b = x[..., :half], x[..., half:]
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], -1)


def attention(w, at, x):
    s, (batch, length, _) = SHAPE, x.shape
    q = rotate((x @ w[at + "q_proj.weight"].T).reshape(batch, length, s["heads"], s["head_dim"]))
    k = rotate((x @ w[at + "k_proj.weight"].T).reshape(batch, length, s["kv_heads"], s["head_dim"]))
    v = (x @ w[at + "v_proj.weight"].T).reshape(k.shape)
    y = jax.nn.dot_product_attention(q, k, v, is_causal=True)  # queries share keys in groups
    return y.reshape(batch, length, -1) @ w[at + "o_proj.weight"].T


def logits(w, tokens):
    x = w["model.embed_tokens.weight"][tokens]
    for i in range(SHAPE["layers"]):
        at = f"model.layers.{i}."
        x = x + attention(w, at + "self_attn.", norm(x, w[at + "input_layernorm.weight"]))
        h = norm(x, w[at + "post_attention_layernorm.weight"])
        gated = jax.nn.silu(h @ w[at + "mlp.gate_proj.weight"].T) * (h @ w[at + "mlp.up_proj.weight"].T)
        x = x + gated @ w[at + "mlp.down_proj.weight"].T
    return norm(x, w["model.norm.weight"]) @ w["model.embed_tokens.weight"].T


def loss(w, tokens):
    """Mean nats per token of [batch, context+1] tokens."""
    return optax.softmax_cross_entropy_with_integer_labels(logits(w, tokens[:, :-1]), tokens[:, 1:]).mean()


def optimizer(steps, peak):
    """AdamW. The rate rises for 200 steps, stays, and falls in the last third; so a
    run may still be made shorter or longer while it is in the first two."""
    schedule = optax.schedules.join_schedules([
        optax.schedules.linear_schedule(0, peak, 200),
        optax.schedules.constant_schedule(peak),
        optax.schedules.cosine_decay_schedule(peak, steps // 3, alpha=0.02),
    ], [200, steps - steps // 3])
    matrices = partial(jax.tree.map, lambda a: a.ndim == 2)  # norms' gains are not decayed
    return optax.chain(optax.clip_by_global_norm(1.0),
                       optax.adamw(schedule, b1=0.9, b2=0.98, weight_decay=0.1, mask=matrices))


def batch(data, step, rows):
    rng = np.random.default_rng([SEED, step])
    starts = rng.integers(0, len(data) - SHAPE["context"] - 1, rows)
    return np.stack([data[i:i + SHAPE["context"] + 1] for i in starts]).astype(np.int32)


def held_out(w, data, of=jax.jit(loss)):
    """Nats per token over held-out text, in windows side by side."""
    n = SHAPE["context"] + 1
    windows = data[:len(data) // n * n].reshape(-1, n).astype(np.int32)
    return float(np.mean([of(w, windows[i:i + 16]) for i in range(0, len(windows) - 15, 16)]))


def save(path, tree, step):
    flat = {str(i): np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(tree))}
    part = path.with_name("part.npz")
    np.savez(part, step=step, **flat)
    part.replace(path)


def load(path, like):
    with np.load(path) as f:
        leaves = [jnp.asarray(f[str(i)]) for i in range(len(jax.tree.leaves(like)))]
        return jax.tree.unflatten(jax.tree.structure(like), leaves), int(f["step"])


def main(args):
    train, held = (np.load(args.work / f"{name}.npy") for name in ("train", "held"))
    sizes = json.loads((args.work / "sizes.json").read_text())
    bits = {"train": len(train) / sizes["train"] / math.log(2), "held": len(held) / sizes["held"] / math.log(2)}
    opt = optimizer(args.steps, args.peak)
    w = jax.tree.map(jnp.asarray, new_weights(np.random.default_rng(SEED)))
    state, first = (w, opt.init(w)), 0
    path = args.work / "state.npz"
    if path.exists():
        state, first = load(path, state)
    print(f"{sum(a.size for a in state[0].values())} weights, from step {first}", flush=True)

    @partial(jax.jit, donate_argnums=0)
    def update(state, tokens):
        w, o = state
        value, gradient = jax.value_and_grad(loss)(w, tokens)
        change, o = opt.update(gradient, o, w)
        return (optax.apply_updates(w, change), o), value

    total, since = 0.0, time.monotonic()
    for step in range(first + 1, args.steps + 1):
        state, value = update(state, batch(train, step, args.rows))
        total += float(value)
        if step % args.every == 0 or step == args.steps:
            seconds, n = time.monotonic() - since, (step - first - 1) % args.every + 1
            print(f"{step:6d} {step * args.rows * SHAPE['context']:10d} {total / n * bits['train']:.3f} "
                  f"{held_out(state[0], held) * bits['held']:.3f} {n * args.rows * SHAPE['context'] / seconds:.0f}", flush=True)
            save(path, state, step)
            total, since = 0.0, time.monotonic()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("--steps", type=int, default=2100)
    parser.add_argument("--rows", type=int, default=8, help="windows in a batch")
    parser.add_argument("--peak", type=float, default=3e-3, help="highest learning rate")
    parser.add_argument("--every", type=int, default=200, help="steps between lines and checkpoints")
    main(parser.parse_args())
