"""The lake's tables and views as data: what each is, and of every column its type and what it holds.

`warehouse.schema` and `warehouse.views` put them together.
"""
