"""What a policy would have decided about promotions of the past. Deciding about those of today lives in `deciding`."""
