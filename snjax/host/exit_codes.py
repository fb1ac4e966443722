"""Exit codes of `launch.py`, by which a sweep learns how its runs ended."""

FINISHED = 0
FAILED = 1  # some runs of a sweep failed; also Python's own code after a traceback
BAD_INPUT = 2
DIVERGED = 3
RESUMABLE = 75  # stopped before its end; resumes when it is started again
INTERRUPTED = 130  # by Ctrl-C
