"""How a rollout is shown to people: in words, and as a plot. Both are made of the wire's record, so that every door shows the same.

words: the sentences about it. timeline: the challenger's part of the traffic over time. plot: an SVG document of its own, whose panels
are drawn in `panel`.
"""
