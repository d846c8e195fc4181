#!/usr/bin/env python3
"""Fuzzes random host instruction sequences around VMRUN; run it with libFuzzer's flags.

    fuzz/fuzz_sequence.py -max_total_time=60 -max_len=64 CORPUS

It raises on a finding that a free host program does not show by what it does itself (VMRUN next to STI, VMRUN with
IF=0): it runs for ever, unless model or oracles are wrong.
"""

import sys

from worldswitch.fuzzing.standalone import main

if __name__ == "__main__":
    main("sequence", sys.argv)
