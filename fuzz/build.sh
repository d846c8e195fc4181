#!/bin/bash -eu
# Builds the libFuzzer targets of fuzz/ the way OSS-Fuzz and ClusterFuzzLite want them: in $OUT for each target its
# program, TARGET_seed_corpus.zip and TARGET.options. Runs in their image base-builder-python, whose
# compile_python_fuzzer packs a target with PyInstaller. fuzz_importer.py is no libFuzzer target and stays out.
set -o pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
cd -- "$root"

pip3 install .

for target in fuzz_world_switch fuzz_sequence fuzz_nested fuzz_path_edits; do
    # The data files are read through the package, and atheris is found by its name alone.
    compile_python_fuzzer "fuzz/$target.py" --collect-data worldswitch --hidden-import atheris
done

python3 fuzz/seeds.py "$OUT"
