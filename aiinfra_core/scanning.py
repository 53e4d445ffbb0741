"""Look for code that would run when an artifact is loaded, and sign what was found."""
