"""The operators on CUDA devices, as Triton kernels; Triton is imported when one is launched."""
