"""Sandbox: a command goes in, a report comes out.

May import metrics and the bottom rooms, never the contract.
"""
