"""Fused CUDA kernels, one file for each operation of `sacb_bundle.ops`, written in Triton."""
