"""The harness behind scripts/bench: starts gateways, sends them the same requests, and reports what each one cost."""
