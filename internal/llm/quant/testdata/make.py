"""Makes vectors.json: numbers of each format beside what gguf-py reads in them,
and floats beside the Q8_0 blocks that gguf-py makes of them.

    pip install gguf numpy && python make.py
"""
import base64, json
import numpy as np
import gguf
from gguf.quants import dequantize, quantize
from gguf.constants import GGMLQuantizationType as T

rng = np.random.default_rng(1)
b64 = lambda a: base64.b64encode(a.tobytes()).decode()
out = {"gguf": "0.19.0", "decode": {}, "encode": []}

# Where each format keeps its f16 scales: these must be finite.
SIZES = {"Q4_0": (18, [0]), "Q4_1": (20, [0, 2]), "Q5_0": (22, [0]), "Q5_1": (24, [0, 2]), "Q5_K": (176, [0, 2]), "Q8_0": (34, [0]), "Q4_K": (144, [0, 2]), "Q6_K": (210, [208])}
for name, (size, scales) in SIZES.items():
    blocks = rng.integers(0, 256, (6, size), dtype=np.uint8)
    for s in scales:
        d = rng.normal(0, 0.01, 6).astype(np.float16)
        d[0], d[1] = np.float16(6e-8), np.float16(-1.5)  # the least subnormal; negative
        blocks[:, s:s + 2] = d.view(np.uint8).reshape(6, 2)
    out["decode"][name] = {"raw": b64(blocks), "want": b64(dequantize(blocks, T[name]).astype("<f4"))}
half = np.array([0, 0x8000, 1, 0x3FF, 0x400, 0x3C00, 0xC000, 0x7BFF, 0x3555], dtype=np.uint16)
out["decode"]["F16"] = {"raw": b64(half), "want": b64(half.view(np.float16).astype("<f4"))}
brain = np.array([0, 0x8000, 1, 0x3F80, 0xC049, 0x7F7F], dtype=np.uint16)
out["decode"]["BF16"] = {"raw": b64(brain), "want": b64((brain.astype("<u4") << 16).view("<f4"))}

rows = [rng.normal(0, s, 64) for s in (1e-4, 0.02, 1, 3000)]
rows.append(np.arange(64) - 31.5)                          # halves: ties away from zero
rows.append(np.r_[np.zeros(32), np.full(32, -127.0)])      # nothing; scale exactly 1
rows.append(np.r_[[127.0], np.arange(31) + 0.5, [-254.0], np.arange(31) - 15])
for r in rows:
    x = r.astype("<f4").reshape(1, 64)
    out["encode"].append({"x": b64(x), "want": b64(quantize(x, T.Q8_0))})
json.dump(out, open("vectors.json", "w"), indent=1)
