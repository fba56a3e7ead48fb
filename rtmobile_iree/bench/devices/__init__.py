"""Benchmarks away from this machine's processor: boards and phones timed, an emulator counted."""
