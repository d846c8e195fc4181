#!/usr/bin/env python3
"""Fuzzes the two implementations of the world switch; run it with libFuzzer's flags.

    fuzz/fuzz_world_switch.py -max_total_time=60 -max_len=64 CORPUS

It raises on a finding that the shipped verdict matrix does not expect, and on an expectation of NMI exposure that does
not hold: on the shipped paths it runs for ever.
"""

import sys

from worldswitch.fuzzing.standalone import main

if __name__ == "__main__":
    main("world-switch", sys.argv)
