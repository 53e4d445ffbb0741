"""Who asks, and whether they may. `identity` is what routes need; the ways to prove who one is have a file each."""
