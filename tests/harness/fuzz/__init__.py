"""Fuzzing with atheris of what reads bytes that strangers can choose."""
