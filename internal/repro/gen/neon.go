package main

func neonKernels() []byte { return nil }
