"""Serves a GGUF file with llama.cpp's server, on loopback, and prints its address."""

import socket
import sys
import threading

import xllamacpp

with socket.socket() as s:
    s.bind(("127.0.0.1", 0))
    port = s.getsockname()[1]

params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.model_alias = {"coral"}
params.hostnames = ["127.0.0.1"]
params.port = port
params.n_ctx = 512
params.n_parallel = 2
params.cpuparams.n_threads = 2
params.chat_template = "chatml"  # the model has none
params.fit_params = False
params.warmup = False
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
threading.Event().wait()
