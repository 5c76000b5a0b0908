"""The service on a real systemd, in a throw-away virtual machine: `make systemd-test`."""
