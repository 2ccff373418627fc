"""The room of history: what was said, eaten and called, in SQLite or PostgreSQL. The only room that knows SQL.

A record goes `historian` -> `write_behind` -> `spool` (a file, within a fifth of a second) -> a database. Nothing on
the reactor's thread waits for a disk or a server; what was spooled survives a crash. docs/history.md has the picture.
"""
