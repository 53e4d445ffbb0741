"""The signed document that says where the traffic of a model in an environment goes."""
