#!/bin/bash -eu
exec "$SRC/worldswitch/fuzz/build.sh"
