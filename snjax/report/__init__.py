"""One static page that compares runs: plain records in, HTML and SVG out. Nothing here reads a run or imports jax.

`records` says what a page is made of, `spreads` takes seeds together, `page` and `figure` draw.
"""
