"""The work on the database, one module a topic.

Every function takes the session of a transaction that its caller opened, says who is asking where
that matters, returns models ready for the wire, and raises an `example_app.errors.ApiError` for
what can't be done.
"""
