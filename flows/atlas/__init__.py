"""The atlas: a lake's embedded frames as a map in a browser, served to this machine alone or written as static files.

A lake goes in; a page with points, colours, pictures and SQL comes out. Start with `points.py`, then `server.py`.
"""
