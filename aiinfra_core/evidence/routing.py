"""What a reader of a signed routing checks before a path is handed over: numbered, pure, without I/O."""
