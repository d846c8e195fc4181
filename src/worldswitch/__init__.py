"""A fuzzing framework for the world switch: how a hypervisor enters and leaves a guest on AMD SVM."""

import os

__version__ = "0.1.0"

if os.environ.get("WORLDSWITCH_CORE") == "pure":
    from worldswitch.sources import install

    install()
