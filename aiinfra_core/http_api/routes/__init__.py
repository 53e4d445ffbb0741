"""A file for each group of addresses; a route checks who asks, calls one core function and sends what it gave."""
