"""Break everything that verdictd stands on, and see that no submission is lost or misjudged: `make chaos`."""
