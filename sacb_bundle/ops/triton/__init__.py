"""Fused CUDA kernels in Triton, one file per operation of `sacb_bundle.ops`."""
