"""Findings in forms that others can use: regressions, a file for pytest, a test of kvm-unit-tests."""
