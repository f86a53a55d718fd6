"""Hostile asset files: `make fuzz`, or `PYTHONPATH=tests python -m fuzz --files N --seed S`.

sample.py makes a small asset, mutations.py damages it, check.py judges what becomes of a file, __main__.py runs and counts.
"""
