"""Run a training again from its recorded provenance and sign how what came out compares, file by file."""
