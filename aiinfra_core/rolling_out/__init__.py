"""Driving rollouts: one look at each that is due, and what follows from its verdict; what people order."""
