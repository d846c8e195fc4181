import importlib.util
import os
import subprocess
import sys

import pytest

from worldswitch.fuzzing.counters import MAX_POINTS, Features, spread

needs_atheris = pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed")


def test_marks_are_readable_without_libfuzzer() -> None:
    features = Features(10)
    features.buffer[7] = 1
    features.buffer[2] = 255
    assert features.marked() == [2, 7]
    features.clear()
    assert features.marked() == []
    assert features.size == len(features.buffer) == 10


@pytest.mark.parametrize("size", [0, -1, MAX_POINTS + 1])
def test_size_is_checked(size: int) -> None:
    with pytest.raises(ValueError, match=str(MAX_POINTS)):
        Features(size)


def test_blocks_do_not_overlap_and_fill_the_buffer() -> None:
    features = Features(100)
    first, second = features.block(60), features.block(40)
    assert (first, second) == (0, 60)
    with pytest.raises(ValueError, match="0 of 100 left"):
        features.block(1)


def test_a_block_has_points() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        Features(8).block(0)


def test_spread_uses_all_points_evenly() -> None:
    points = 64
    for keys in (range(64 * 100), range(0, 64 * 100 << 40, 1 << 40), (key << 90 | 5 for key in range(64 * 100))):
        hits = [0] * points
        for key in keys:
            hits[spread(key, points)] += 1
        assert min(hits) > 50
        assert max(hits) < 150


def test_spread_is_the_same_in_every_process() -> None:
    code = "from worldswitch.fuzzing.counters import spread; print([spread(key ** 9, 4096) for key in range(50)])"
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, env={**os.environ, "PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2")
    }
    assert outputs == {f"{[spread(key**9, 4096) for key in range(50)]}\n".encode()}


@needs_atheris
@pytest.mark.parametrize("hook", ["mutator", "crossover"])
def test_registering_after_libfuzzer_was_loaded_without_its_hooks_is_refused(hook: str) -> None:
    # libFuzzer would go on without the hook and say nothing.
    code = (
        "import atheris.core_with_libfuzzer; from worldswitch.fuzzing.counters import Features;"
        f"Features(8).register({hook}=True)"
    )
    process = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert process.returncode == 1
    assert f"before atheris.custom_{hook}" in process.stderr


@needs_atheris
def test_libfuzzer_sees_and_clears_the_registered_buffer() -> None:
    # Also that the buffer outlives its Features, and that registering twice counts once.
    code = """
import gc, sys, atheris
from worldswitch.fuzzing.counters import Features
features = Features(40)
features.register()
features.register()
buffer = features.buffer
del features
gc.collect()
def one_input(data):
    assert not any(buffer), "not cleared"
    buffer[len(data) % 8] = 1
atheris.Setup(["toy", "-runs=20000", "-seed=1", "-max_len=64"], one_input)
atheris.Fuzz()
"""
    process = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert "1 modules   (40 inline 8-bit counters)" in process.stderr
    assert "DONE   cov: 8 ft: 8 " in process.stderr
