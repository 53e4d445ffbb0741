"""Going back to the previous good model by one command: a signed promotion that says so."""
