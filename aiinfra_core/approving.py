"""Agree to a promotion, or take that back; the last approval that was missing carries the promotion on."""
