"""Comparing runs: the leaderboard, and the page and figures of `launch.py --mode=report`.

    runs -> groups -> contents (scores, curves, samples, configs, paper_layouts) -> page, figure

`runs` reads workdirs, `groups` puts the seeds of one config together, `contents` and the modules it
calls build the records of a `Page`, and `page` and `figure` render these. Nothing here imports JAX.
"""

# The layouts of a page; `contents.choose_layout` explains them.
LAYOUTS = ('auto', 'runs', 'settings', 'table2')
