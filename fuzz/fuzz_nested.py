#!/usr/bin/env python3
"""Fuzzes the nested world, L0 on the two implementations; run it with libFuzzer's flags.

    fuzz/fuzz_nested.py -max_total_time=60 -max_len=64 CORPUS

It raises on a finding that is not known of the path (docs/nested.md): it runs for ever, unless model or oracles are
wrong.
"""

import sys

from worldswitch.fuzzing.standalone import main

if __name__ == "__main__":
    main("nested", sys.argv)
