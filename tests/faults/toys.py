"""Harnesses of slices that go wrong, by the input or by the number of the case."""

import os
import signal
import time

from worldswitch.fuzzing import slices
from worldswitch.fuzzing.harness import Harness, Send
from worldswitch.fuzzing.targets import Configuration

AT = 200
"""The case at which they go wrong."""

GROWN = 12
"""Pieces of 32 MB that a growing one takes at the most."""


def _spoiled(send: Send, configuration: Configuration, cases: int, how: str) -> Harness:
    harness = slices.build(send, configuration, cases)
    executions = 0
    kept: list[bytearray] = []

    def one_input(data: bytes) -> None:
        nonlocal executions
        executions += 1
        harness.one_input(data)
        if executions == AT:
            if how == "raise":
                raise ValueError("the target's own words")
            if how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if how == "stopped":
                os.kill(os.getpid(), signal.SIGSTOP)
            while how == "hang":
                time.sleep(1)
        if how == "grow" and executions >= AT:
            if len(kept) < GROWN:
                kept.append(bytearray(b"\1" * (32 << 20)))
            time.sleep(0.1)  # libFuzzer looks once a second

    return Harness(one_input, harness.mutator, harness.crossover, harness.features)


def raising(send: Send, configuration: Configuration, cases: int) -> Harness:
    """Raises."""
    return _spoiled(send, configuration, cases, "raise")


def killed(send: Send, configuration: Configuration, cases: int) -> Harness:
    """Is killed by its input."""
    return _spoiled(send, configuration, cases, "killed")


def stopped(send: Send, configuration: Configuration, cases: int) -> Harness:
    """Does not move any more, and no alarm gets through."""
    return _spoiled(send, configuration, cases, "stopped")


def hanging(send: Send, configuration: Configuration, cases: int) -> Harness:
    """A case that takes too long."""
    return _spoiled(send, configuration, cases, "hang")


def growing(send: Send, configuration: Configuration, cases: int) -> Harness:
    """Takes more memory with every case, up to a limit of its own."""
    return _spoiled(send, configuration, cases, "grow")
