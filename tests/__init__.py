"""Tests: they mirror the code, plus scenarios over HTTP, interop with real peers, and faults."""
