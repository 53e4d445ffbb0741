"""How promotions earn their traffic where they do not say: the operator's YAML file of rollouts, and its queries."""
