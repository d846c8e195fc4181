"""Fuzzing: bytes to cases, mutators, libFuzzer, campaigns."""
