"""A fuzzing framework for the world switch: how a hypervisor enters and leaves a guest on AMD SVM."""

__version__ = "0.1.0"
