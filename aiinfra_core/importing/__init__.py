"""Bring over what a service that this one replaces has recorded, and say of all of it that it was imported, never that it was trained here.

`go_service` asks that service, `reading` makes sense of what it says, `copying` keeps it. Nothing that is imported moves a pointer.
"""
