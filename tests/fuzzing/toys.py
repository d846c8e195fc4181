"""Harnesses for the tests of the engine; built in the fuzzing process, which imports this module."""

import ctypes
import time

from worldswitch.fuzzing.counters import Features
from worldswitch.fuzzing.engine import Harness, Send, Stop

STEPS = ((3, 0x5A), (7, 0xC3), (11, 0x1E), (14, 0x99))
"""The planted conjunction: four bytes that must have these values, each visible only once those before it have theirs.
A random input of 16 bytes has them with probability 2**-32."""


def steps_done(data: bytes) -> int:
    done = 0
    for position, value in STEPS:
        if len(data) <= position or data[position] != value:
            break
        done += 1
    return done


def change_byte(data: bytes, max_size: int, seed: int) -> bytes:
    mutated = bytearray(data.ljust(16, b"\0")[:max_size])
    mutated[seed % len(mutated)] = seed >> 16 & 0xFF
    return bytes(mutated)


def halves(data: bytes, other: bytes, max_size: int, seed: int) -> bytes:
    if seed & 7:
        return b""  # declined: libFuzzer asks the mutator or here again
    return (data[: len(data) // 2] + other[len(other) // 2 :])[:max_size]


def staircase(send: Send, guided: bool) -> Harness:
    """Finds the conjunction, step by step where the counters guide it; stops there."""
    features = Features(len(STEPS) + 2)
    buffer = features.buffer

    def one_input(data: bytes) -> None:
        done = steps_done(data)
        buffer[done] = buffer[-1] = 1
        if done == len(STEPS):
            send({"found": data.hex()})
            raise Stop

    return Harness(one_input, mutator=change_byte, features=features if guided else None)


def wanderer(send: Send) -> Harness:
    """Keeps finding something new for a while. Its points depend on text hashes, as a careless harness's may."""
    features = Features(512)
    buffer = features.buffer

    def one_input(data: bytes) -> None:
        if len(data) >= 4:
            buffer[hash(f"{data[0] >> 2} {data[1] & data[2] & data[3]}") % 512] = 1

    return Harness(one_input, change_byte, halves, features)


def native_mutations(send: Send) -> Harness:
    """No mutator of its own: libFuzzer's."""
    features = Features(256)
    buffer = features.buffer

    def one_input(data: bytes) -> None:
        if data:
            buffer[data[0]] = 1

    return Harness(one_input, features=features)


def branches(send: Send) -> Harness:
    """No counters: only atheris's instrumentation of this function's branches can guide it."""

    def one_input(data: bytes) -> None:
        if len(data) > 2 and data[0] == 0x31 and data[1] == 0x32 and data[2] == 0x33:
            send("reached")
            raise Stop

    return Harness(one_input)


def hook_calls(send: Send) -> Harness:
    """Reports, at the 2000th execution, how often each hook was called."""
    calls = {"executions": 0, "mutator": 0, "crossover": 0}

    def one_input(data: bytes) -> None:
        calls["executions"] += 1
        if calls["executions"] == 2000:
            send(calls)

    def mutator(data: bytes, max_size: int, seed: int) -> bytes:
        calls["mutator"] += 1
        return data

    def crossover(data: bytes, other: bytes, max_size: int, seed: int) -> bytes:
        calls["crossover"] += 1
        return data

    return Harness(one_input, mutator, crossover, Features(8))


def talker(send: Send, count: int) -> Harness:
    """Sends ``count`` numbered messages, more than a pipe holds, one an execution; then stops."""
    said = 0

    def one_input(data: bytes) -> None:
        nonlocal said
        if said == count:
            raise Stop
        send([said, "x" * 1000])
        said += 1

    return Harness(one_input, mutator=change_byte)


def misfit(send: Send, how: str) -> Harness:
    """Finds a few things, then goes wrong in the way asked for."""
    if how == "build":
        raise LookupError("no such path")
    features = Features(8)
    buffer = features.buffer
    kept: list[bytearray] = []
    executions = 0

    def one_input(data: bytes) -> None:
        nonlocal executions
        executions += 1
        buffer[executions // 32 % 8] = 1
        if executions < 400:
            return
        if how == "raise":
            raise ValueError("the target's own words")
        if how == "exit":
            raise SystemExit(0)
        if how == "segfault":
            ctypes.string_at(1)
        while how == "hang":
            pass
        if how == "grow":  # libFuzzer looks once a second
            if len(kept) < 8:
                kept.append(bytearray(b"\1" * (64 << 20)))
            time.sleep(0.1)

    def mutator(data: bytes, max_size: int, seed: int) -> bytes:
        if executions >= 400:
            if how == "mutator":
                raise ValueError("the mutator's own words")
            if how == "too long":
                return bytes(max_size + 1)
        return change_byte(data, max_size, seed)

    return Harness(one_input, mutator, features=features)
