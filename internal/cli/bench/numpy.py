# Multiplies what it is told, a line "rows cols vectors least" at a time, for at
# least so many nanoseconds, and answers with those of each product.
import sys, time
try:
    import numpy as np
except ImportError:
    print("absent: this Python has no NumPy")
    sys.exit()
blas = np.show_config("dicts")["Build Dependencies"]["blas"]
print("NumPy", np.__version__, "with", blas["name"], blas["version"], flush=True)
for line in sys.stdin:
    rows, cols, vectors, least = map(int, line.split())
    a = np.random.randn(rows, cols).astype(np.float32)
    b = np.random.randn(cols, vectors).astype(np.float32)
    out = np.empty((rows, vectors), np.float32)
    np.matmul(a, b, out=out)
    began, n = time.perf_counter_ns(), 0
    while time.perf_counter_ns() - began < least:
        np.matmul(a, b, out=out)
        n += 1
    print((time.perf_counter_ns() - began) / n, flush=True)
