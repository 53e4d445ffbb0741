"""The canary judge: verdicts from numbers, by e-processes; pure. Where numbers come from is not in here."""
