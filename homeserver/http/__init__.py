"""HTTP: the connection, the declared endpoints, authentication, rate limits, and the rendering of errors.

`endpoint` is what endpoint files import; `server` is what the wiring listens with.
"""
