"""The training loop: the contract of a method, its players, and the compiled step. It knows no
method.
"""
