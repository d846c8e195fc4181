#!/usr/bin/env python3
"""Fuzzes edited paths; run it with libFuzzer's flags.

    fuzz/fuzz_path_edits.py -max_total_time=60 -max_len=128 CORPUS

Any edit may break a path, so that a finding is no failure here. What must hold on every path there can be: nothing is
raised, int_state bleeds only where a VMRUN was executed in a shadow, and a path's name says which edits it has.
"""

import sys

from worldswitch.fuzzing.counters import Features
from worldswitch.fuzzing.edits import EditsCodec, broken_promise
from worldswitch.fuzzing.harness import run_target_main
from worldswitch.fuzzing.mutate import Mutator
from worldswitch.fuzzing.projection import SIZE
from worldswitch.fuzzing.targets import Configuration, Target, features


def main() -> None:
    """Run the target; ends the process."""
    target = Target(Configuration("edits"))
    assert isinstance(target.codec, EditsCodec)
    mutator = Mutator(target.codec)
    points = Features(SIZE)
    buffer = points.buffer

    def one_input(data: bytes) -> None:
        judged = target.run(data)
        for point in features(judged):
            buffer[point] = 1
        wrong = broken_promise(judged[0].run, judged[0].verdict)
        if wrong:
            raise AssertionError(wrong)

    run_target_main(sys.argv, one_input, mutator=mutator.mutate, crossover=mutator.crossover, features=points)


if __name__ == "__main__":
    main()
