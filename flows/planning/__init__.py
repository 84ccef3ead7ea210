"""Planning: what `--plan` prints, for each stage that would run.

Start with `plan.py`.
"""
