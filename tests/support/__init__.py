"""What the tests and the demo need around the daemon."""
