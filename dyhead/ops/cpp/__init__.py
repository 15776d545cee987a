"""The operators on a CPU, by a C++ extension that is compiled on first use."""
