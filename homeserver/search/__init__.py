"""Finding messages and people. https://spec.matrix.org/v1.19/client-server-api/#server-side-search"""
