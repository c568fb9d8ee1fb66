"""Makes vectors.json: what others compute of the same mechanisms.

    python3 -m venv venv && venv/bin/pip install dp-accounting==0.6.0 mpmath==1.4.1
    venv/bin/python vectors.py > vectors.json

Gaussian and DP-SGD come from Google's dp-accounting, by Renyi divergences at its
own orders ("rdp") and by privacy loss distributions ("pld", pessimistic: an upper
bound, close to the truth). Divergences of Skellam noise are summed up here from the
definition with 50 digits: they are no bounds but the values.
"""
import json

import dp_accounting
import mpmath as mp
from dp_accounting import pld, rdp

mp.mp.dps = 50


def event(rate, noise, rounds):
    e = dp_accounting.GaussianDpEvent(noise)
    if rate < 1:
        e = dp_accounting.PoissonSampledDpEvent(rate, e)
    return dp_accounting.SelfComposedDpEvent(e, rounds)


def runs():
    for rate, noise, rounds, delta in [
        (1, 1.0, 1, 1e-5), (1, 4.0, 1, 1e-6), (1, 5.0, 20, 1e-5), (1, 10.0, 1000, 1e-6), (1, 0.6, 1, 1e-5),
        (0.004, 1.1, 15000, 1e-5), (0.01, 0.8, 2000, 1e-5), (0.01, 1.0, 10000, 1e-6), (0.1, 2.0, 500, 1e-5),
        (0.001, 0.7, 20000, 1e-7), (0.5, 8.0, 300, 1e-5), (0.02, 4.0, 100, 1e-8),
    ]:
        e = event(rate, noise, rounds)
        a = rdp.RdpAccountant().compose(e)
        p = pld.PLDAccountant(value_discretization_interval=1e-4).compose(e)
        yield dict(rate=rate, noise=noise, rounds=rounds, delta=delta, rdp=a.get_epsilon(delta), pld=p.get_epsilon(delta))


def divergences():
    orders = [2, 3, 5, 8, 16, 32, 64, 128]
    for rate, noise in [(1, 1.3), (0.004, 1.1), (0.01, 0.8), (0.1, 2.0), (0.5, 8.0)]:
        a = rdp.RdpAccountant(orders=orders).compose(event(rate, noise, 1))
        yield dict(rate=rate, noise=noise, orders=orders, rdp=[float(x) for x in a._rdp])


def targets():
    for epsilon, delta, rounds, rate in [(1, 1e-5, 100, 1), (4, 1e-5, 50, 1), (8, 1e-5, 1, 1), (1, 1e-6, 2000, 0.01), (8, 1e-5, 5000, 0.02)]:
        noise = dp_accounting.calibrate_dp_mechanism(
            rdp.RdpAccountant, lambda s: event(rate, s, rounds), epsilon, delta, tol=1e-7)
        yield dict(epsilon=epsilon, delta=delta, rounds=rounds, rate=rate, noise=noise)


def skellam():
    for variance, shift in [(1, 1), (4, 1), (4, 3), (25, 5), (100, 1), (100, 10), (1000, 40)]:
        v = mp.mpf(variance)
        reach = int(40 * mp.sqrt(v) + 40 * shift + 60)
        table = [mp.besseli(k, v) * mp.exp(-v) for k in range(reach + shift + 1)]
        p = lambda k: table[abs(k)]
        orders, values = [2, 3, 4, 8, 16], []
        for a in orders:
            s = mp.fsum(p(k - shift) ** a * p(k) ** (1 - a) for k in range(-reach, reach + 1))
            values.append(float(mp.log(s) / (a - 1)))
        yield dict(variance=variance, shift=shift, orders=orders, rdp=values)


json.dump(dict(
    made_by="vectors.py with dp-accounting 0.6.0 and mpmath 1.4.1",
    runs=list(runs()), divergences=list(divergences()), targets=list(targets()), skellam=list(skellam()),
), __import__("sys").stdout, indent=1)
