"""Where the numbers of canaries come from outside: Prometheus and SQL. What was reported to us lives in `registry.observations`."""
