"""Checkers: compare what a program wrote with what was expected. May import what judging may."""
