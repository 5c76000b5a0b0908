"""Checkers: decide if an output is correct. May import contract, sandbox and settings."""
